"""Keeps the partitions of jobs: some days ahead, and no more than are to be kept.

Nothing here is needed for a job to be taken: an id that no partition covers lands in the rest.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from typing import TypeVar

from app.kernel.errors import AppError
from app.kernel.metrics import Metrics
from app.kernel.principal import SERVICE
from app.kernel.uow import Transactions, UnitOfWork
from app.orchestration.retention import store
from app.orchestration.retention.store import TABLES, Partition

AHEAD_DAYS = 3
_EVERY_S = 3600.0
_AGAIN_S = 60.0
_TRIES = 3
_BATCH = 1000
_BATCHES = 100
# Each partition of a table costs each statement that finds rows by id some microseconds.
_PARTITIONS = 15
_LONGEST_DAYS = 30
_log = logging.getLogger(__name__)
T = TypeVar("T")


@dataclass(slots=True)
class Applied:
    """What was done: names of partitions, and how many rows were deleted by table.

    `crowded` are spans (`table: first to until`) whose jobs stay in the rest.
    """

    made: list[str] = field(default_factory=list)
    crowded: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
    deleted: dict[str, int] = field(default_factory=dict)


def days_of_a_partition(keep_days: int) -> int:
    """How many days a partition covers, so that there are about fifteen of each table."""
    return max(1, -(-keep_days // _PARTITIONS)) if keep_days else _LONGEST_DAYS


class Retention:
    """Makes and drops partitions; each in a transaction of its own, one process at a time.

    `keep_days` days of jobs that have ended are kept, for ever if 0. A partition goes when its
    youngest job is that old and none of its jobs lives. Holds and settlements are never dropped.
    """

    def __init__(
        self, transactions: Transactions, *, keep_days: int, metrics: Metrics | None = None
    ) -> None:
        self._transactions = transactions
        self._keep_days = keep_days
        self._metrics = metrics
        self._next = 0.0

    async def run_once(self) -> Applied | None:
        """Apply what is due, at most once an hour; None if it is not time yet.

        A table that was busy is tried again a minute later.
        """
        if time.monotonic() < self._next:
            return None
        self._next = time.monotonic() + _AGAIN_S
        done = await self.apply()
        self._next = time.monotonic() + _EVERY_S
        return done

    async def partitions(self) -> list[Partition]:
        """All partitions."""
        async with self._transactions.begin(SERVICE) as uow:
            return await store.partitions(uow)

    async def due(self, today: date | None = None) -> list[Partition]:
        """The partitions that `apply` would drop."""
        before = self._before(await self._today(today))
        return [
            each
            for each in await self.partitions()
            if before is not None
            and each.until is not None
            and each.until <= before
            and not each.is_living
        ]

    async def apply(self, today: date | None = None) -> Applied:
        """Make the partitions of the days to come, drop old ones, delete what belonged to them.

        `today` stands in for the database's day; no day that is not over is dropped.
        """
        day, done = await self._today(today), Applied()
        for table in TABLES:
            await self._make_ahead(table, day, done)
        if (before := self._before(day)) is not None:
            for table in TABLES:
                await self._drop_old(table, before, done)
            for table in store.CLEANUPS:
                clean = partial(store.clean, table=table, before=before, limit=_BATCH)
                await self._delete(table, clean, done)
        await self._show()
        return done

    def _before(self, today: date) -> date | None:
        return today - timedelta(self._keep_days) if self._keep_days else None

    async def _today(self, today: date | None) -> date:
        if today is not None:
            return today
        async with self._transactions.begin(SERVICE) as uow:
            return await store.today(uow)

    async def _make_ahead(self, table: str, today: date, done: Applied) -> None:
        ends = [each.until for each in await self.partitions() if each.table == table]
        end = max((end for end in ends if end is not None), default=today)
        width = days_of_a_partition(self._keep_days)
        # After a long pause few partitions cover it.
        width = max(width, (today - end).days // _PARTITIONS)
        while end <= today + timedelta(AHEAD_DAYS):
            first, end = end, end + timedelta(width)
            make = partial(store.make, table=table, first=first, until=end)
            result = await self._alone(make)
            if result == "crowded":
                done.crowded.append(f"{table}: {first} to {end}")
                _log.warning("no partition made: too many rows", extra={"span": done.crowded[-1]})
            elif result == "made":
                done.made.append(f"{table}_p{first:%Y%m%d}")

    async def _drop_old(self, table: str, before: date, done: Applied) -> None:
        drop = partial(store.drop, table=table, before=before)
        while (name := await self._alone(drop)) is not None:
            done.dropped.append(name)
        overflow = partial(store.delete_overflow, table=table, before=before, limit=_BATCH)
        await self._delete(table, overflow, done)

    async def _delete(
        self, table: str, delete: Callable[[UnitOfWork], Awaitable[int]], done: Applied
    ) -> None:
        """Delete in batches, each a short transaction; what is left is for the next time."""
        for _ in range(_BATCHES):
            deleted = await self._alone(delete)
            if deleted:
                done.deleted[table] = done.deleted.get(table, 0) + deleted
            if deleted < _BATCH:
                return

    async def _alone(self, work: Callable[[UnitOfWork], Awaitable[T]]) -> T:
        """Work in a transaction that no other process's overlaps; a busy table is tried again."""
        for left in reversed(range(_TRIES)):
            try:
                async with self._transactions.begin(SERVICE) as uow:
                    await store.lock(uow)
                    return await work(uow)
            except AppError as error:
                if left == 0 or not error.is_retryable:
                    raise
        raise AssertionError

    async def _show(self) -> None:
        if self._metrics is None:
            return
        found = await self.partitions()
        for table in TABLES:
            sizes = [each.bytes for each in found if each.table == table]
            self._metrics.observe_partitions(table, len(sizes), sum(sizes))
