"""The queue as its operator sees it: what waits in it, and stopping and starting its kinds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from app.kernel.audit import record
from app.kernel.errors import AppError, Code
from app.kernel.metrics import Metrics
from app.kernel.uow import UnitOfWork
from app.orchestration.operations.queues import store

#: Kinds that are shown even when they are empty.
KINDS = ("task", "tool", "workflow")


@dataclass(frozen=True, slots=True)
class Queue:
    """The jobs of one kind; each number is counted up to 10,000."""

    kind: str
    ready: int
    running: int
    oldest_s: float
    reason: str | None
    paused_at: datetime | None

    @property
    def is_paused(self) -> bool:
        """Whether nobody claims its jobs."""
        return self.paused_at is not None


@dataclass(frozen=True, slots=True)
class QueueState:
    """The queue: its kinds, and the jobs of all kinds that are not ready."""

    kinds: Sequence[Queue]
    future: int
    waiting: int
    limited: int


class Queues:
    """For operators: needs a unit of work of the platform, whose principal is in the audit log."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """`wake` makes workers look again, once a kind is resumed."""
        self._wake = wake

    async def state(self, uow: UnitOfWork) -> QueueState:
        """What the queue holds; costs milliseconds however much that is."""
        await store.guard(uow, is_on=True)
        rows = await store.by_kind(uow, list(KINDS))
        later = await store.later(uow)
        await store.guard(uow, is_on=False)
        kinds = [Queue(r.kind, r.ready, r.running, r.oldest_s, r.reason, r.paused_at) for r in rows]
        return QueueState(kinds, *later)

    async def pause(self, uow: UnitOfWork, kind: str, reason: str = "") -> Queue:
        """Let jobs of a kind wait; those that run go on. Repeating it replaces the reason."""
        if kind not in KINDS and kind not in {one.kind for one in (await self.state(uow)).kinds}:
            raise _unknown(kind)
        await store.pause(uow, kind, reason)
        await record(uow, "queue.paused", f"queue:{kind}", {"reason": reason})
        return await self._one(uow, kind)

    async def resume(self, uow: UnitOfWork, kind: str) -> Queue:
        """Let jobs of a kind start again; repeating it changes nothing."""
        if await store.resume(uow, kind):
            await record(uow, "queue.resumed", f"queue:{kind}", {})
            uow.after_commit(self._wake)
        return await self._one(uow, kind)

    async def _one(self, uow: UnitOfWork, kind: str) -> Queue:
        for queue in (await self.state(uow)).kinds:
            if queue.kind == kind:
                return queue
        raise _unknown(kind)


def show(state: QueueState, metrics: Metrics) -> None:
    """Put what the queue holds into the process's metrics."""
    for queue in state.kinds:
        states = {"ready": queue.ready, "running": queue.running}
        metrics.observe_kind(queue.kind, states, queue.oldest_s, is_paused=queue.is_paused)
    later = {"future": state.future, "waiting": state.waiting, "limited": state.limited}
    metrics.observe_later(later)


def _unknown(kind: str) -> AppError:
    return AppError(
        Code.NOT_FOUND,
        f"There is no queue of the kind {kind[:100]!r}.",
        hint=f"The kinds are {', '.join(KINDS)}.",
    )
