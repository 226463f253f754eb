"""A worker over real PostgreSQL, with handlers and tools written for the test."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from app.billing import Billing, Quote, to_micro
from app.kernel.clock import SystemClock
from app.kernel.db import Database
from app.kernel.errors import AppError
from app.kernel.ids import new_id
from app.kernel.metrics import Metrics
from app.kernel.principal import SERVICE, Principal
from app.kernel.settings import Settings
from app.kernel.wakeups import Wakeups
from app.orchestration import (
    Admission,
    JobContext,
    JobRequest,
    Jobs,
    JobView,
    Lifecycle,
    Outcome,
    Worker,
)
from app.orchestration.dispatch import Dispatcher
from app.proxy import ToolCall, ToolResult, Usage
from app.storage import LocalBlobs, Storage
from tests.books import assert_balanced

Run = Callable[[JobContext], Awaitable[Outcome]]


async def succeed(_ctx: JobContext) -> Outcome:
    return Outcome(True, {"answer": 42})


@dataclass
class ScriptedHandler:
    """A handler whose behaviour a test sets."""

    run_once: Run = succeed

    async def run(self, ctx: JobContext) -> Outcome:
        return await self.run_once(ctx)


@dataclass
class ScriptedTools:
    """A proxy that answers with what a test sets, at once or when the test lets it go on."""

    answer: Mapping[str, Any] | AppError = field(default_factory=dict)
    calls: list[ToolCall] = field(default_factory=list)
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event | None = None
    late: Mapping[str, Any] | None = None

    def hold(self) -> asyncio.Event:
        """Stop calls from now on; gives the event of the first one that came."""
        self.gate, self.reached = asyncio.Event(), asyncio.Event()
        return self.reached

    def go(self) -> None:
        """Let held calls, and all later ones, go on."""
        if self.gate is not None:
            self.gate.set()
        self.gate = None

    def detach(self, late: Mapping[str, Any]) -> asyncio.Event:
        """Let later calls through; the held one answers `late` once the event is set."""
        gate, self.gate, self.late = self.gate, None, late
        assert gate is not None
        return gate

    async def call(self, call: ToolCall) -> ToolResult:
        self.calls.append(call)
        answer: Mapping[str, Any] | AppError | None = None
        if (gate := self.gate) is not None:
            self.reached.set()
            await gate.wait()
            answer = self.late
        answer = self.answer if answer is None else answer
        error = answer if isinstance(answer, AppError) else None
        structured = None if isinstance(answer, AppError) else dict(answer)
        usage = Usage(call.name, "0" * 64, 1, 2, 3)
        return ToolResult(structured, [], error is not None, error, usage)


@dataclass
class Bench:
    """Everything a test of jobs needs."""

    database: Database
    wakeups: Wakeups
    billing: Billing
    storage: Storage
    jobs: Jobs
    lifecycle: Lifecycle
    handler: ScriptedHandler
    tools: ScriptedTools
    user: Principal
    settings: Settings

    def request(self, **changes: Any) -> JobRequest:
        values: dict[str, Any] = {
            "user_id": self.user.owner,
            "kind": "task",
            "definition": {"n": 1},
            "price": Quote("template", "t", "outcome", to_micro(2), 1),
        }
        return JobRequest(**(values | changes))

    async def submit(self, **changes: Any) -> JobView:
        async with self.database.begin(self.user.elevated()) as uow:
            return (await self.jobs.submit(uow, self.request(**changes))).job

    async def view(self, job_id: UUID) -> JobView:
        async with self.database.begin(self.user) as uow:
            return await self.jobs.get(uow, job_id)

    async def kinds(self, job_id: UUID) -> list[str]:
        async with self.database.begin(self.user) as uow:
            return [event.kind for event in await self.jobs.events(uow, job_id)]

    async def wallet(self) -> tuple[int, int, int]:
        async with self.database.begin(self.user) as uow:
            wallet = await self.billing.wallet(uow, self.user.owner)
        return wallet.available_micro, wallet.held_micro, wallet.captured_micro

    def new_worker(self, dispatcher: Dispatcher | None = None, **changes: Any) -> Worker:
        return Worker(
            transactions=self.database,
            wakeups=self.wakeups,
            lifecycle=self.lifecycle,
            billing=self.billing,
            proxy=self.tools,  # type: ignore[arg-type]
            handlers={"task": self.handler},
            settings=self.settings.model_copy(update=changes),
            metrics=Metrics(),
            dispatcher=dispatcher,
        )

    @contextlib.asynccontextmanager
    async def working(self, **changes: Any) -> AsyncIterator[Worker]:
        worker = self.new_worker(**changes)
        task = asyncio.create_task(worker.run())
        try:
            yield worker
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def until_ended(self, job_id: UUID) -> JobView:
        async with asyncio.timeout(30):
            async for _ in self.jobs.follow(self.user, job_id):
                pass
        return await self.view(job_id)


@pytest.fixture
async def bench(database: Database, dsn: str, tmp_path: Path) -> AsyncIterator[Bench]:
    # A lease outlives any pause of the machine: one that is to run out ends by the test's decree.
    settings = Settings(
        home=tmp_path, lease_seconds=60.0, poll_seconds=0.2, backoff_seconds=0.01, max_attempts=3
    )
    wakeups = Wakeups(dsn)
    await wakeups.start()
    billing = Billing()
    storage = Storage(LocalBlobs(tmp_path / "files"), SystemClock(), b"k" * 32, 10**6)
    admission = Admission(wakeups)
    lifecycle = Lifecycle(billing, storage, wakeups, admission=admission)
    user = Principal("user", new_id(), scopes=frozenset({"jobs"}))
    async with database.begin(SERVICE) as uow:
        await uow.execute(
            "insert into app.users (user_id, email) values (:id, :email)",
            {"id": user.owner, "email": f"{user.owner}@example.org"},
        )
        await billing.grant(uow, user.owner, to_micro(10), cause=f"test:{user.owner}")
    yield Bench(
        database,
        wakeups,
        billing,
        storage,
        Jobs(billing, lifecycle, database, wakeups, settings.poll_seconds, admission),
        lifecycle,
        ScriptedHandler(),
        ScriptedTools(),
        user,
        settings,
    )
    await wakeups.close()
    await assert_balanced(database)
