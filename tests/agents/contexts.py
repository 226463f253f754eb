"""Job contexts without a database or MCP: one with scripted tools, one with the real functions."""

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from inspect import isawaitable
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from app.agents import AgentRun
from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal
from app.kernel.uow import UnitOfWork
from app.storage import Blob

JSON = dict[str, Any]
Tool = Callable[[JSON], JSON | Awaitable[JSON]]
STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Killed(BaseException):
    """Stands for SIGKILL: nothing may catch it and tidy up."""


@dataclass(frozen=True)
class Job:
    definition: Mapping[str, Any]
    job_id: UUID = field(default_factory=lambda: UUID(int=1))
    user_id: UUID = field(default_factory=lambda: UUID(int=2))
    project_id: UUID | None = None
    start_time: datetime | None = STARTED


@dataclass
class MemoryLedger:
    """Keeps rows as the database does: outputs as JSON, the first row of a key stands."""

    rows: list[AgentRun] = field(default_factory=list)

    async def load(self, uow: UnitOfWork, job_id: UUID) -> list[AgentRun]:
        return [row for row in self.rows if row.job_id == job_id]

    async def record(self, uow: UnitOfWork, run: AgentRun) -> None:
        key = (run.job_id, run.role, run.attempt)
        if key not in {(row.job_id, row.role, row.attempt) for row in self.rows}:
            # jsonb keeps no order of keys: a resumed run must not depend on it.
            output = json.loads(json.dumps(run.output, sort_keys=True))
            self.rows.append(replace(run, output=output))

    @property
    def walked(self) -> list[tuple[str, int, str]]:
        return [(row.role, row.attempt, row.status) for row in self.rows]


@dataclass
class Context:
    """A job context whose tools are the functions of `tools`; `kill_at` dies at a moment."""

    job: Job
    tools: Mapping[str, Tool]
    principal: Principal = field(default_factory=lambda: Principal("user", UUID(int=2)))
    events: list[tuple[str, JSON]] = field(default_factory=list)
    once: set[str] = field(default_factory=set)
    calls: list[tuple[str, str]] = field(default_factory=list)
    kill_at: str | None = None
    cancelled: bool = False

    async def emit(self, kind: str, data: Mapping[str, Any], *, once: str | None = None) -> None:
        if once is not None and once in self.once:
            return
        if once is not None:
            self.once.add(once)
        self.events.append((kind, json.loads(json.dumps(data))))

    async def call_tool(self, name: str, arguments: Mapping[str, Any], *, key: str) -> JSON:
        self.calls.append((name, key))
        if self.kill_at is not None and key.startswith(self.kill_at):
            raise Killed
        answer = self.tools[name](json.loads(json.dumps(arguments)))
        if isawaitable(answer):
            answer = await answer
        return cast(JSON, json.loads(json.dumps(answer)))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[UnitOfWork]:
        yield cast(UnitOfWork, None)

    def is_cancelled(self) -> bool:
        return self.cancelled

    def of(self, kind: str) -> list[JSON]:
        return [data for name, data in self.events if name == kind]


@dataclass
class MemoryBlobs:
    """`put_bytes` of a storage that lives in memory."""

    data: dict[str, bytes] = field(default_factory=dict)

    async def put(self, data: bytes) -> Blob:
        digest = hashlib.sha256(data).hexdigest()
        self.data[digest] = data
        return Blob(digest, len(data))


PutBytes = Callable[[bytes], Awaitable[Blob]]


def no_sandbox(_arguments: JSON) -> JSON:
    raise AppError(Code.SANDBOX_UNAVAILABLE, "This machine cannot isolate code.")


@dataclass
class Files:
    """File ids for paths, as the platform hands them out."""

    paths: dict[str, Path] = field(default_factory=dict)
    first: int = 1000

    def add(self, path: Path) -> str:
        file_id = str(UUID(int=self.first + len(self.paths)))
        self.paths[file_id] = path
        return file_id

    def resolve(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self.resolve(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.resolve(item) for item in value]
        return str(self.paths[value]) if value in self.paths else value
