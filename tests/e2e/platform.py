"""What the end-to-end tests share: the server, people with credits, both doors, the books."""

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import UUID, uuid4

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from app.billing import to_micro
from app.kernel.principal import SERVICE, USER_SCOPES
from app.kernel.settings import Settings
from tests.e2e.keeper import environment

JSON = dict[str, Any]
Era = Literal["auto", "legacy"]
ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "biotools" / "samples"
RECORD = SAMPLES / "human_HBB_region_U01317.gb"
BACKGROUND = SAMPLES / "human_chr6p21_HLA_BA000025.gb.gz"
PRICE = to_micro(5)
CREDITS = to_micro(20)


@dataclass(frozen=True)
class Platform:
    """The running server; `folder` is shared by all test processes."""

    folder: Path
    url: str

    @property
    def settings(self) -> Settings:
        """The settings that open the server's database."""
        return Settings(
            home=self.folder / "home",
            postgres_shared_buffers="64MB",
            mcp_config=ROOT / "mcp_config.yaml",
        )

    def environment(self, person: "Person") -> dict[str, str]:
        """The surroundings of a command that talks to this server."""
        surroundings = environment(self.folder / "unused")
        return surroundings | {"UAOL_URL": self.url, "UAOL_API_KEY": person.key}


@contextmanager
def attached(folder: Path) -> Iterator[Platform]:
    """This process's share in the server; the first share starts it, the last one stops it."""
    folder.mkdir(exist_ok=True)
    state, keeper = folder / "server.json", None
    with (folder / "users").open("a") as users:
        with (folder / "start").open("a") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            # Waits while an earlier server is being stopped.
            fcntl.flock(users, fcntl.LOCK_SH)
            if not state.exists():
                keeper = _keeper(folder)
        yield Platform(folder, json.loads(state.read_text())["url"])
    if keeper is not None:
        # Only now may the folder be removed; other test processes may still be at work.
        keeper.wait()


def _keeper(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.keeper", str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    with process.stdout as said:
        if said.readline().strip() == "ready":
            return process
    process.wait()
    raise RuntimeError((folder / "server.log").read_text())


@dataclass(frozen=True)
class Person:
    """A user of the platform, with a key."""

    user_id: str
    key: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


async def newcomer(services: Any, credits_micro: int = CREDITS) -> Person:
    """A user nobody else uses, so that the wallet is this test's own."""
    async with services.database.begin(SERVICE) as uow:
        user = await services.auth.ensure_user(uow, f"{uuid4().hex}@example.org")
        await services.auth.ensure_project(uow, user.user_id, "default")
        if credits_micro:
            await services.billing.grant(uow, user.user_id, credits_micro, cause=uuid4().hex)
        issued = await services.auth.issue_key(uow, user.user_id, name="e2e", scopes=USER_SCOPES)
    return Person(str(user.user_id), issued.secret)


@dataclass(frozen=True)
class Books:
    """What a user has and owes."""

    available: int
    held: int
    captured: int
    granted: int
    open_holds: int


async def books(services: Any, person: Person) -> Books:
    """The user's books, read from the tables and not through a door."""
    async with services.database.begin(SERVICE) as uow:
        wallet = await services.billing.wallet(uow, UUID(person.user_id))
        holds = await uow.execute(
            "select count(*) from app.hold h where h.user_id = :user and not exists"
            " (select 1 from app.settlement s where s.hold_id = h.hold_id)",
            {"user": UUID(person.user_id)},
        )
        return Books(
            wallet.available_micro,
            wallet.held_micro,
            wallet.captured_micro,
            wallet.granted_micro,
            holds.scalar_one(),
        )


class Doors:
    """One person's way in: `http` for `/v1`, `mcp` for tools."""

    def __init__(self, http: httpx2.AsyncClient, mcp: Client) -> None:
        self.http = http
        self.mcp = mcp

    async def upload(self, data: bytes, name: str = "input") -> str:
        """Upload bytes; gives the file's id."""
        answer = await self.http.post("/v1/files", params={"name": name}, content=data)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["file_id"])

    async def call(self, name: str, **arguments: Any) -> JSON:
        """An MCP tool's structured answer."""
        result = await self.mcp.call_tool(name, arguments)
        assert not result.is_error, result.content
        return dict(result.structured_content)

    async def refused(self, name: str, **arguments: Any) -> JSON:
        """An MCP tool's error."""
        result = await self.mcp.call_tool(name, arguments)
        assert result.is_error, result.structured_content
        return dict(result.structured_content)

    async def get(self, path: str) -> JSON:
        """A JSON document of the HTTP door."""
        answer = await self.http.get(path)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def run(self, template_input: Mapping[str, Any], **more: Any) -> JSON:
        """Run the knockout to its end; gives the job, whatever came of it."""
        arguments = {"template": "crispr_knockout", "input": dict(template_input), "wait": True}
        result = await self.mcp.call_tool("bio_agent.run_task", arguments | more)
        return dict(result.structured_content)

    async def files(self, job_id: str) -> dict[str, bytes]:
        """A job's files by name, downloaded through their links, which need no key."""
        listed = (await self.get(f"/v1/jobs/{job_id}/files"))["files"]
        async with httpx2.AsyncClient(timeout=60) as stranger:
            answers = {one["name"]: await stranger.get(one["url"]) for one in listed}
        assert {answer.status_code for answer in answers.values()} <= {200}
        return {name: answer.content for name, answer in answers.items()}


@asynccontextmanager
async def doors(platform: Platform, person: Person, era: Era = "auto") -> AsyncIterator[Doors]:
    """Both doors, open for one person."""
    async with (
        httpx2.AsyncClient(base_url=platform.url, headers=person.headers, timeout=100) as http,
        Client(streamable_http_client(f"{platform.url}/mcp", http_client=http), mode=era) as mcp,
    ):
        yield Doors(http, mcp)


@dataclass(frozen=True)
class Finished:
    """A knockout of HBB that has ended, and its owner's books on both sides of it."""

    owner: Person
    job: JSON
    submitted: JSON
    before: Books
    after: Books

    @property
    def job_id(self) -> str:
        return str(self.job["job_id"])

    @property
    def input(self) -> JSON:
        return dict(self.submitted["input"])


async def finished(platform: Platform, services: Any) -> Finished:
    """The knockout that all tests look at; whichever test process comes first runs it."""
    kept = platform.folder / "knockout.json"
    with kept.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        if known := file.read():
            return _read(json.loads(known))
        made = await _knock_out(platform, services)
        file.write(json.dumps(asdict(made)))
        file.flush()
    return made


async def _knock_out(platform: Platform, services: Any) -> Finished:
    owner = await newcomer(services)
    before = await books(services, owner)
    async with doors(platform, owner) as way:
        record = await way.upload(RECORD.read_bytes(), RECORD.name)
        background = await way.upload(BACKGROUND.read_bytes(), BACKGROUND.name)
        submitted: JSON = {
            "input": {"record": record, "gene": "HBB", "backgrounds": [background]},
            "idempotency_key": uuid4().hex,
        }
        key = submitted["idempotency_key"]
        job = await way.run(submitted["input"], idempotency_key=key)
    return Finished(owner, job, submitted, before, await books(services, owner))


def _read(known: JSON) -> Finished:
    return Finished(
        Person(**known["owner"]),
        known["job"],
        known["submitted"],
        Books(**known["before"]),
        Books(**known["after"]),
    )


def shared_folder() -> Path:
    """The folder that all test processes of this run share."""
    return Path(os.environ["UAOL_TEST_FOLDER"]) / "e2e"
