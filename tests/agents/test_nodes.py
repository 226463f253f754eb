"""A task template as a step of a workflow: its keys, rows and files, and how it goes on."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from app.agents import AgentNodes, Templates
from app.agents.store import AgentRunStore
from app.kernel.clock import SystemClock
from app.kernel.db import Database
from app.kernel.errors import AppError, Code
from app.kernel.ids import new_id
from app.kernel.principal import SERVICE
from app.storage import LocalBlobs, Storage
from tests.agents.contexts import Context, Job, Killed
from tests.agents.toy import TOOLS, Toy
from tests.factories import create

pytestmark = pytest.mark.anyio
ROLES = ["planner", "retriever", "coder", "evaluator", "reporter"]


@dataclass(frozen=True)
class Step:
    path: str
    target: str | None = "toy"


@dataclass
class Bench:
    """The runner over a real database; tools are played."""

    database: Database
    nodes: AgentNodes
    ctx: Context
    toy: Toy = field(default_factory=Toy)

    async def run(self, path: str, given: Any, key: str = "k", **step: Any) -> dict[str, Any]:
        return await self.nodes.run(self.ctx, Step(path, **step), given, key=key)

    async def roles(self, path: str) -> list[str]:
        async with self.database.begin(SERVICE) as uow:
            return [run.role for run in await AgentRunStore(path).load(uow, self.ctx.job.job_id)]


@pytest.fixture
async def bench(database: Database, tmp_path: Path) -> Bench:
    user = new_id()
    async with database.begin(SERVICE) as uow:
        await create(uow, "api_keys", user)
    toy = Toy()
    storage = Storage(LocalBlobs(tmp_path), SystemClock(), b"k" * 32, 10**6)
    job = Job({"definition": {}, "pins": {"template:toy": 3}}, new_id(), user)
    ctx = Context(job, {name: lambda _: {} for name in TOOLS})
    ctx.transaction = lambda: database.begin(SERVICE)  # type: ignore[method-assign]
    return Bench(database, AgentNodes(Templates([toy.template()]), storage), ctx, toy)


async def test_an_answer_with_files_of_the_job(bench: Bench) -> None:
    answer = await bench.run("pick[2]", {"numbers": [99, 4]})
    assert answer["number"] == 4
    (file,) = answer["files"]
    assert (file["name"], file["media_type"], file["size"]) == ("pick[2].n.txt", "text/plain", 2)
    async with bench.database.begin(SERVICE) as uow:
        rows = await uow.execute("select job_id, name, kind from app.files")
        assert [tuple(row) for row in rows] == [
            (bench.ctx.job.job_id, "pick[2].n.txt", "artifact"),
        ]
    assert (await bench.roles("pick[2]"))[:3] == ROLES[:3]
    assert {key.split(":")[1] for _, key in bench.ctx.calls} == {"pick[2]"}
    assert all(data["step"] == "pick[2]" for _, data in bench.ctx.events)


async def test_two_steps_of_a_job_do_not_share_their_roles(bench: Bench) -> None:
    first = await bench.run("a", {"numbers": [1]})
    second = await bench.run("b", {"numbers": [2]})
    assert (first["number"], second["number"]) == (1, 2)
    assert await bench.roles("a") == await bench.roles("b") == ROLES
    assert await bench.roles("") == []
    kinds = [kind for kind, _ in bench.ctx.events]
    assert kinds.count("report.ready") == 2


@pytest.mark.parametrize("role", ROLES)
async def test_a_killed_step_goes_on_behind_its_last_role(bench: Bench, role: str) -> None:
    bench.ctx.kill_at = f"step:a:{role}"
    with pytest.raises(Killed):
        await bench.run("a", {"numbers": [1]}, key="step:a:1")
    assert await bench.roles("a") == ROLES[: ROLES.index(role)]
    bench.ctx.kill_at = None
    answer = await bench.run("a", {"numbers": [1]}, key="step:a:2")
    assert answer["number"] == 1
    assert await bench.roles("a") == ROLES
    keys = [key for _, key in bench.ctx.calls]
    repeated = {key for key in keys if keys.count(key) > 1}
    assert {key.split(":")[2] for key in repeated} == {role}


@pytest.mark.parametrize(
    ("given", "step", "code"),
    [
        ({"numbers": [99, 98]}, {}, Code.NO_GUIDE),
        ({"numbers": [99] * 2 + [98, 97, 96]}, {}, Code.CHECK_FAILED),
        ({"number": [1]}, {}, Code.UNKNOWN_FIELD),
        ({"numbers": [1]}, {"target": "nope"}, Code.TEMPLATE_UNKNOWN),
        ({}, {"target": None}, Code.INVALID_INPUT),
    ],
)
async def test_no_result(bench: Bench, given: Any, step: Any, code: Code) -> None:
    with pytest.raises(AppError) as caught:
        await bench.run("a", given, **step)
    assert caught.value.code is code
    async with bench.database.begin(SERVICE) as uow:
        assert (await uow.execute("select 1 from app.files")).first() is None


async def test_another_version_than_was_priced(bench: Bench) -> None:
    bench.ctx.job = Job({"pins": {"template:toy": 2}}, bench.ctx.job.job_id)
    with pytest.raises(AppError) as caught:
        await bench.run("a", {"numbers": [1]})
    assert caught.value.code is Code.CONFLICT
    assert bench.ctx.calls == []
