"""The relay: adds the head of the ready queue to the streams, after the commit.

One worker at a time does so, for all. What it has published it notes in memory only: a relay
that dies before it publishes loses nothing, one that dies after it makes doubles, which a claim
by id passes over. Only the head is ever in the streams, in the queue's own fair order.
"""

import asyncio
import time
from collections.abc import Sequence
from uuid import UUID

from app.kernel.principal import SERVICE
from app.kernel.uow import Transactions
from app.kernel.wakeups import Wakeups
from app.orchestration.dispatch import store
from app.orchestration.dispatch.broker import Broker
from app.orchestration.lifecycle import JOBS_TOPIC, jobs_topic

WINDOW = 2000
BULK = 32
_LEAD_S = 2.0
# Below this many a partition, each job travels alone: it starts sooner and is shared better.
_FEW = 8
_LONGEST = 16
_REST = 1
_NEVER = (float("-inf"), 0.0)


class Relay:
    """Brings ready jobs of all kinds to the streams; leads, or stands by."""

    def __init__(
        self,
        broker: Broker,
        transactions: Transactions,
        wakeups: Wakeups,
        *,
        kinds: Sequence[str],
        bulk_kinds: Sequence[str],
        name: str,
        again_s: float,
        poll_s: float,
    ) -> None:
        """A job that stays ready is published again after `again_s`, then after twice that ..."""
        self._broker = broker
        self._transactions = transactions
        self._wakeups = wakeups
        self._kinds = kinds
        self._bulk_kinds = frozenset(bulk_kinds)
        self._name = name
        self._again_s = again_s
        self._poll_s = poll_s
        # When each job of the head may be published again, and after how long then.
        self._marks: dict[UUID, tuple[float, float]] = {}
        self._asked_at = float("-inf")
        self._is_leading = False

    async def step(self) -> None:
        """Publish what has become ready, then wait for more. Raises `BrokerError`, `AppError`."""
        ticket = self._wakeups.ticket(JOBS_TOPIC, *map(jobs_topic, self._kinds))
        if not await self._lead():
            await asyncio.sleep(_LEAD_S / 4)
            return
        began = time.monotonic()
        await self.publish()
        # At most half of one connection's time goes into looking: a long queue makes a look dear.
        await asyncio.sleep(_REST * (time.monotonic() - began))
        await self._wakeups.wait(ticket, min(self._poll_s, _LEAD_S / 4))

    async def publish(self) -> int:
        """Publish what is ready and not yet published; how many jobs."""
        async with self._transactions.begin(SERVICE) as uow:
            ready = await store.heads(uow, self._kinds, WINDOW)
        now = time.monotonic()
        fresh: dict[str, list[UUID]] = {}
        for kind, job_id in ready:
            if self._marks.get(job_id, _NEVER)[0] <= now:
                fresh.setdefault(kind, []).append(job_id)
        if fresh:
            await self._broker.publish({kind: self._cut(kind, ids) for kind, ids in fresh.items()})
        # What has left the head is leased or over; were it ready again, it is news again.
        self._marks = {job_id: self._mark(job_id, now) for _, job_id in ready}
        return sum(len(ids) for ids in fresh.values())

    async def stop(self) -> None:
        """Let another lead at once. Raises `BrokerError`."""
        if self._is_leading:
            self._is_leading = False
            await self._broker.step_down(self._name)

    def _mark(self, job_id: UUID, now: float) -> tuple[float, float]:
        due, wait = self._marks.get(job_id, _NEVER)
        if due > now:
            return due, wait
        # Behind a long queue nothing is lost: the waits grow, or doubles would fill the streams.
        wait = min(2 * wait, _LONGEST * self._again_s) or self._again_s
        return now + wait, wait

    def _cut(self, kind: str, ids: Sequence[UUID]) -> list[Sequence[UUID]]:
        is_bulk = kind in self._bulk_kinds and len(ids) > _FEW * self._broker.partitions
        size = min(BULK, -(-len(ids) // self._broker.partitions)) if is_bulk else 1
        return [ids[at : at + size] for at in range(0, len(ids), size)]

    async def _lead(self) -> bool:
        """Lead, or see whether it is one's turn; asks the broker four times in a term."""
        now = time.monotonic()
        if now - self._asked_at < _LEAD_S / 4:
            return self._is_leading
        self._is_leading = False
        term = await self._broker.lead(self._name, _LEAD_S)
        self._is_leading, self._asked_at = term != "other", now
        if term != "kept":
            # Another led meanwhile, or the broker was emptied: what was published may be gone.
            self._marks.clear()
        return self._is_leading
