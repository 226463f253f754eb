"""The tables of jobs and credits in memory, and transactions over them.

A transaction reads what is committed until it first writes; then it is alone until its end, as if
all rows were locked. What it writes is undone if it does not commit. At each commit the rows it
changed are judged: this is where a broken promise shows at the moment it is broken.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from app.kernel.errors import AppError
from app.kernel.principal import Principal
from app.kernel.uow import UnitOfWork
from app.orchestration import JobRequest
from app.orchestration.states import TERMINAL, can_move

EPOCH = datetime(2030, 1, 1, tzinfo=UTC)
Row = tuple[str, Any]
_TABLES = ("jobs", "queue", "keys", "events", "holds", "settled", "wallets", "usage", "dead")


class BrokenPromiseError(AssertionError):
    """Something happened that never may."""


@dataclass(frozen=True)
class Job:
    """A row of `processing_jobs`."""

    job_id: UUID
    request: JobRequest
    start_time: datetime
    status: str = "Queued"
    end_time: datetime | None = None
    attempt: int = 0
    output: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Queued:
    """A row of `job_queue`; moments are seconds of the simulated clock."""

    job_id: UUID
    user_id: UUID
    kind: str
    priority: int
    place: int | None
    run_at: float
    lease_until: float | None = None
    worker: str | None = None
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    is_cancel_requested: bool = False
    parked_as: str | None = None
    is_limited: bool = False
    webhook_id: UUID | None = None


@dataclass(frozen=True)
class Settled:
    """A row of `settlement`."""

    kind: str
    captured: int
    released: int


@dataclass(frozen=True)
class Purse:
    """A row of `wallet`."""

    available: int = 0
    held: int = 0
    captured: int = 0
    granted: int = 0


@dataclass
class Memory:
    """The database: tables by name, each a dict of immutable rows, and the database's clock."""

    clock: Callable[[], float]
    tables: dict[str, dict[Any, Any]] = field(
        default_factory=lambda: {name: {} for name in _TABLES}
    )
    leases: dict[UUID, dict[int, tuple[str, float]]] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    commits: int = 0
    surprises: list[str] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["tables"][name]
        except KeyError:
            raise AttributeError(name) from None

    def status(self, job_id: UUID) -> str:
        """As the view shows it, but for a lease that has run out and is not taken yet."""
        job, row = self.tables["jobs"][job_id], self.tables["queue"].get(job_id)
        return _status(job, row)

    def grant(self, user_id: UUID, amount: int) -> None:
        purse = self.tables["wallets"].get(user_id, Purse())
        self.tables["wallets"][user_id] = replace(
            purse, available=purse.available + amount, granted=purse.granted + amount
        )

    def judge(self, changes: Mapping[Row, Any], now: float) -> None:
        """Compare what a commit changed with what was there before."""
        for (table, key), before in changes.items():
            after = self.tables[table].get(key)
            if before is not None and before != after:
                _JUDGES.get(table, _any)(self, before, after, now)
            if table == "wallets" and min(after.available, after.held, after.captured) < 0:
                raise BrokenPromiseError(f"a wallet is negative: {after}")
        for job_id in {key for table, key in changes if table in ("jobs", "queue")}:
            _moved(self, job_id, changes)

    def audit(self) -> None:
        """The books of everything."""
        if self.surprises:
            raise BrokenPromiseError(f"a transaction failed in its own way: {self.surprises[0]}")
        held: dict[UUID, int] = {}
        spent: dict[UUID, int] = {}
        for hold_id, hold in self.tables["holds"].items():
            end = self.tables["settled"].get(hold_id)
            sums = held if end is None else spent
            amount = hold.amount_micro if end is None else end.captured
            sums[hold.user_id] = sums.get(hold.user_id, 0) + amount
            if (end is None) != (hold_id in self.tables["queue"]):
                raise BrokenPromiseError(f"hold {hold_id} and its live job are not together")
        for user_id, purse in self.tables["wallets"].items():
            if (purse.held, purse.captured) != (held.get(user_id, 0), spent.get(user_id, 0)):
                raise BrokenPromiseError(f"{purse} is not the projection of its holds")
            if purse.available + purse.held + purse.captured != purse.granted:
                raise BrokenPromiseError(f"credits came or went: {purse}")
        self._audit_ends()

    def _audit_ends(self) -> None:
        for job_id, job in self.tables["jobs"].items():
            if (job.end_time is None) != (job_id in self.tables["queue"]):
                raise BrokenPromiseError(f"{job_id} is {job.status}, and queued or not")
            if (job.status == "Dead") != (job_id in self.tables["dead"]):
                raise BrokenPromiseError(f"{job_id} is {job.status}, and a dead letter or not")


def _status(job: Job, row: Queued | None) -> str:
    if job.end_time is not None or row is None:
        return job.status
    if row.lease_until is not None:
        return "Running"
    if row.parked_as == "Waiting":
        return "Waiting"
    return "Retrying" if row.attempt > 0 else "Queued"


def _moved(memory: Memory, job_id: UUID, changes: Mapping[Row, Any]) -> None:
    job = changes.get(("jobs", job_id), memory.tables["jobs"].get(job_id))
    if job is None:
        return
    before = _status(job, changes.get(("queue", job_id), memory.tables["queue"].get(job_id)))
    after = memory.status(job_id)
    if before != after and not can_move(before, after):
        raise BrokenPromiseError(f"{job_id} went from {before} to {after}")
    if after in TERMINAL and before != after:
        end = memory.tables["settled"].get(job_id)
        price = job.request.price.amount_micro
        wanted = (
            Settled("captured", price, 0) if after == "Success" else Settled("released", 0, price)
        )
        if end != wanted:
            raise BrokenPromiseError(f"{job_id} ended as {after} and was settled as {end}")


def _job_judge(memory: Memory, before: Job, after: Job | None, _now: float) -> None:
    if after is None or before.end_time is not None:
        raise BrokenPromiseError(f"the end of {before.job_id} was changed: {before} {after}")
    row = memory.tables["queue"].get(before.job_id)
    newest = max(memory.leases.get(before.job_id, {}), default=0)
    if after.status != "Cancelled" and (after.attempt != newest or row is not None):
        raise BrokenPromiseError(
            f"{before.job_id} was ended by attempt {after.attempt} of {newest}"
        )


def _queue_judge(memory: Memory, before: Queued, after: Queued | None, now: float) -> None:
    if after is None:
        return
    if after.attempt < before.attempt:
        raise BrokenPromiseError(f"a fencing token went back: {before} {after}")
    was_live = before.lease_until is not None and before.lease_until >= now
    if after.attempt > before.attempt and was_live:
        raise BrokenPromiseError(f"a live lease was taken: {before}")


def _final(_memory: Memory, before: Any, after: Any, _now: float) -> None:
    raise BrokenPromiseError(f"what is written once was changed: {before} {after}")


def _any(_memory: Memory, _before: Any, _after: Any, _now: float) -> None:
    return None


_JUDGES: dict[str, Callable[[Memory, Any, Any, float], None]] = {
    "jobs": _job_judge,
    "queue": _queue_judge,
    "settled": _final,
    "holds": _final,
}


class MemoryUnit(UnitOfWork):
    """An open transaction; the store's functions reach the tables through it."""

    def __init__(self, memory: Memory, principal: Principal, reach: Callable[[], Any]) -> None:
        super().__init__(None, principal, ("", ()))  # type: ignore[arg-type]
        self.memory = memory
        self.now = memory.clock()
        self._reach = reach
        self._changes: dict[Row, Any] = {}
        self._leased: list[tuple[UUID, int]] = []
        self._is_alone = False

    @property
    def moment(self) -> datetime:
        return EPOCH + timedelta(seconds=self.now)

    async def read(self) -> None:
        """Before a statement that only reads: what others have not committed is not seen."""
        await self._reach()
        if not self._is_alone:
            await self.memory.lock.acquire()
            self.memory.lock.release()

    async def write(self) -> None:
        """Before a statement that writes or locks."""
        await self._reach()
        if not self._is_alone:
            await self.memory.lock.acquire()
            self._is_alone = True

    def put(self, table: str, key: Any, value: Any) -> None:
        assert self._is_alone
        rows = self.memory.tables[table]
        self._changes.setdefault((table, key), rows.get(key))
        if value is None:
            rows.pop(key, None)
        else:
            rows[key] = value

    def lease(self, row: Queued, worker: str) -> None:
        """Note who has a token, for the judges."""
        leases = self.memory.leases.setdefault(row.job_id, {})
        leases[row.attempt] = (worker, self.memory.clock())
        self._leased.append((row.job_id, row.attempt))

    def commit(self) -> None:
        self.memory.commits += bool(self._changes)
        self.memory.judge(self._changes, self.now)
        self._changes = {}
        self._leased = []

    def leave(self) -> None:
        """Undo what was not committed, and let others in."""
        for (table, key), before in self._changes.items():
            if before is None:
                self.memory.tables[table].pop(key, None)
            else:
                self.memory.tables[table][key] = before
        for job_id, attempt in self._leased:
            del self.memory.leases[job_id][attempt]
        self._changes, self._leased = {}, []
        if self._is_alone:
            self._is_alone = False
            self.memory.lock.release()


@dataclass
class MemoryTransactions:
    """`Transactions` over a memory; faults come in by subclasses."""

    memory: Memory

    async def reach(self, _point: str) -> None:
        """Called at `begin`, each `statement`, before the `commit` and after it (`committed`)."""

    @asynccontextmanager
    async def begin(self, principal: Principal) -> AsyncIterator[MemoryUnit]:
        await self.reach("begin")
        uow = MemoryUnit(self.memory, principal, lambda: self.reach("statement"))
        try:
            yield uow
            await self.reach("commit")
            uow.commit()
        except AppError:
            raise
        except Exception as error:
            # Workers log such and go on; a simulation must not.
            self.memory.surprises.append(repr(error))
            raise
        finally:
            uow.leave()
        await self.reach("committed")
        uow.committed()
