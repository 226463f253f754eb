"""Real modules on a real database, with a small task and small tools that the tests can steer."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from app.agents import TaskTemplate, Templates
from app.agents.types import Check, Draft, Material, Plan, RenderedFile, Report
from app.kernel.db import Database
from app.kernel.errors import AppError, Code
from app.kernel.principal import SERVICE, USER_SCOPES, Principal, Scope
from app.orchestration import Artifact, JobContext, Outcome
from app.registry import Prices, ServerConfig, ToolDefinition
from app.storage import Storage
from app.surfaces.services import Services

CREDITS = 10_000_000
TASK_PRICE = 2_000_000
TOOL_PRICE = 10_000
PICK_PRICE = 500_000
WEBHOOK_KEY = b"w" * 32
FileId = Annotated[str, Field(json_schema_extra={"format": "file"})]


class EchoInput(BaseModel):
    model_config = ConfigDict(extra="forbid")
    text: str
    record: FileId | None = None
    more: list[FileId] = Field(default_factory=list)


async def _unused(*_: Any) -> Any:
    raise AssertionError("the tests' task has a handler of its own")


ECHO = TaskTemplate(
    name="echo",
    title="Echo",
    description="Says it again.",
    version=1,
    price_micro=TASK_PRICE,
    input_model=EchoInput,
    policies=("plain",),
    plan=_unused,
    retrieve=_unused,
    compute=_unused,
    evaluate=_unused,
    report=_unused,
)


class PickInput(BaseModel):
    model_config = ConfigDict(extra="forbid")
    numbers: list[int]


class _Pick:
    """A task whose roles need no tools: the first number below ten, written into a file."""

    async def plan(self, _ctx: Any, _given: Any) -> Plan:
        return Plan("Pick one.", ["1. Pick."], {})

    async def retrieve(self, _ctx: Any, _state: Any) -> Material:
        return Material("Nothing to gather.", {})

    async def compute(self, _ctx: Any, state: Any, _refusals: Any) -> Draft:
        found = [number for number in state["input"]["numbers"] if number < 10]
        if not found:
            why = {"code": "no_guide", "message": "No number is small.", "hint": "Give others."}
            return Draft("None.", {}, why)
        return Draft("Picked.", {"number": found[0]})

    async def evaluate(self, _ctx: Any, state: Any) -> list[Check]:
        return [Check("small", "passed", "It is small.", state["draft"])]

    async def report(self, _ctx: Any, state: Any) -> Report:
        number = state["draft"]["number"]
        data = f"{number}\n".encode()
        return Report("Wrote it.", {"number": number}, [RenderedFile("n.txt", "text/plain", data)])


_PICK = _Pick()
PICK = TaskTemplate(
    name="pick",
    title="Pick",
    description="Picks a small number.",
    version=2,
    price_micro=PICK_PRICE,
    input_model=PickInput,
    policies=("plain",),
    plan=_PICK.plan,
    retrieve=_PICK.retrieve,
    compute=_PICK.compute,
    evaluate=_PICK.evaluate,
    report=_PICK.report,
)
TEMPLATES = Templates([ECHO, PICK])


class EchoTask:
    """`fail` ends refused; `wait` runs until `go` is set; anything else succeeds with files."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self.go = asyncio.Event()

    async def run(self, ctx: JobContext) -> Outcome:
        text = ctx.job.definition["input"]["text"]
        await ctx.emit("agent.started", {"role": "planner", "attempt": 1})
        await ctx.emit("progress", {"done": 1, "total": 2, "message": "half"}, once="half")
        if text == "wait":
            await self.go.wait()
        if text == "fail":
            return Outcome(False, {}, AppError(Code.CHECK_FAILED, "It was refused."))
        report = await self._storage.put_bytes(f"# {text}\n".encode())
        binary = await self._storage.put_bytes(b"\x00\xff\x01")
        files = [
            Artifact(report, "report.md", "text/markdown"),
            Artifact(binary, "raw data.bin", "application/octet-stream"),
        ]
        return Outcome(True, {"said": text}, files=files)


_WORD = {
    "type": "object",
    "properties": {"word": {"type": "string"}},
    "required": ["word"],
    "additionalProperties": False,
}
TOOLS = ServerConfig(
    name="words", command=("words",), prices=Prices(TOOL_PRICE, {"free": 0}), is_trusted=True
)


def definition(name: str) -> ToolDefinition:
    return ToolDefinition("words", name, f"The tool {name}.", _WORD, None)


DEFINITIONS = [definition(name) for name in ("say", "free", "refuse", "break", "hang")]


@dataclass
class Person:
    principal: Principal
    key: str

    @property
    def headers(self) -> Mapping[str, str]:
        return {"authorization": f"Bearer {self.key}"}

    @property
    def user_id(self) -> UUID:
        return self.principal.owner


@dataclass
class World:
    services: Services
    database: Database
    task: EchoTask
    alice: Person
    bob: Person
    folder: Path


async def person(
    services: Services, email: str, scopes: frozenset[Scope] = USER_SCOPES, granted: int = CREDITS
) -> Person:
    async with services.database.begin(SERVICE) as uow:
        user = await services.auth.ensure_user(uow, email)
        issued = await services.auth.issue_key(uow, user.user_id, name="test", scopes=scopes)
        await services.billing.open_wallet(uow, user.user_id)
        if granted:
            await services.billing.grant(uow, user.user_id, granted, cause=f"test:{email}")
    principal = Principal("user", user.user_id, None, frozenset(scopes), issued.key.key_id)
    return Person(principal, issued.secret)


async def catalogue(services: Services) -> None:
    async with services.database.begin(SERVICE) as uow:
        await services.registry.pin(uow, TOOLS, DEFINITIONS)
        await services.registry.refresh(uow)
        for template in TEMPLATES.all():
            await services.billing.publish_price(
                uow, "template", template.name, template.price_micro
            )
        for one in DEFINITIONS:
            price = TOOLS.prices.of(one.name)
            await services.billing.publish_price(uow, "tool", one.full_name, price)
