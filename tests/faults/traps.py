"""Points of a run at which a worker can be made to end itself.

Every trap is a subclass or a wrapper handed in where the wiring hands in the real thing; no
product code knows of it. `reach` sends the signal at the first passage only, so that a process
that was stopped and continued goes on.
"""

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from signal import SIGKILL
from typing import Any
from uuid import UUID

from app.agents import AgentRun, TaskRunner, Templates
from app.agents.store import AgentRunStore
from app.agents.template import TaskTemplate
from app.agents.types import ROLES
from app.kernel.errors import AppError
from app.kernel.uow import UnitOfWork
from app.orchestration import JobContext, Lease, Lifecycle, Outcome, Worker
from app.storage import Blob, Storage, StoredFile
from app.surfaces.services import Services

STEPS = dict(zip(ROLES, ("plan", "retrieve", "compute", "evaluate", "report"), strict=True))


@dataclass
class Trap:
    """Sends `signal` to its own process at the point `at`."""

    at: str | None = None
    signal: int = SIGKILL

    def reach(self, point: str) -> None:
        if point == self.at:
            self.at = None
            os.kill(os.getpid(), self.signal)


def trapped(template: TaskTemplate, trap: Trap) -> TaskTemplate:
    """Points `<role>:begun` and `<role>:worked`, and `<role>:called` after its first call."""

    def around(role: str, step: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def run(*arguments: Any) -> Any:
            trap.reach(f"{role}:begun")
            made = await step(*arguments)
            trap.reach(f"{role}:worked")
            return made

        return run

    steps = {name: around(role, getattr(template, name)) for role, name in STEPS.items()}
    return replace(template, **steps)  # type: ignore[arg-type]


class TrappedLedger(AgentRunStore):
    """Points `<role>:recorded`: its row is durable, its events are not told yet."""

    def __init__(self, trap: Trap) -> None:
        self._trap = trap

    async def record(self, uow: UnitOfWork, run: AgentRun) -> None:
        await super().record(uow, run)
        uow.after_commit(lambda: self._trap.reach(f"{run.role}:recorded"))


class TrappedContext:
    """Points `<role>:called`: a tool has answered, and nothing is written of it."""

    def __init__(self, ctx: JobContext, trap: Trap) -> None:
        self._ctx = ctx
        self._trap = trap

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ctx, name)

    async def call_tool(self, name: str, arguments: Any, *, key: str) -> dict[str, Any]:
        answer = await self._ctx.call_tool(name, arguments, key=key)
        self._trap.reach(f"{key.partition(':')[0]}:called")
        return answer


class TrappedRunner(TaskRunner):
    """Point `stored`: all blobs lie on the disk, the transaction that ends the job not begun."""

    def __init__(self, trap: Trap, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._trap = trap

    async def run(self, ctx: Any) -> Outcome:
        outcome = await super().run(TrappedContext(ctx, self._trap))
        self._trap.reach("stored")
        return outcome


class TrappedStorage:
    """Points `writing` (one blob of several stored), `ending` and `ended` (inside and after the
    transaction that ends the job).
    """

    def __init__(self, storage: Storage, trap: Trap) -> None:
        self._storage = storage
        self._trap = trap

    async def put_bytes(self, data: bytes) -> Blob:
        blob = await self._storage.put_bytes(data)
        self._trap.reach("writing")
        return blob

    async def attach(self, uow: UnitOfWork, **given: Any) -> StoredFile:
        file = await self._storage.attach(uow, **given)
        uow.after_commit(lambda: self._trap.reach("ended"))
        self._trap.reach("ending")
        return file


class NotedLifecycle(Lifecycle):
    """Writes down how each attempt to end a job went."""

    notes: Path

    async def finish(self, uow: UnitOfWork, lease: Lease, outcome: Outcome) -> None:
        try:
            await super().finish(uow, lease, outcome)
        except AppError as error:
            self._note(lease.job_id, error.code.value)
            raise
        except BaseException as error:
            self._note(lease.job_id, type(error).__name__)
            raise
        self._note(lease.job_id, "finished")

    def _note(self, job_id: UUID, text: str) -> None:
        with self.notes.open("a") as file:
            file.write(f"{os.getpid()} {job_id} {text}\n")


def trapped_worker(services: Services, template: TaskTemplate, trap: Trap) -> Worker:
    """A worker as the wiring makes it, for one template, with traps."""
    storage: Any = TrappedStorage(services.storage, trap)
    lifecycle = NotedLifecycle(services.billing, storage, services.wakeups)
    lifecycle.notes = services.settings.home / "notes"
    handler = TrappedRunner(
        trap,
        Templates([trapped(template, trap)]),
        storage.put_bytes,
        ledger=TrappedLedger(trap),
    )
    return Worker(
        transactions=services.database,
        wakeups=services.wakeups,
        lifecycle=lifecycle,
        billing=services.billing,
        proxy=services.proxy,
        handlers={"task": handler},
        settings=services.settings,
        metrics=services.metrics,
    )
