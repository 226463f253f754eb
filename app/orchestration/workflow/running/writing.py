"""Writes what many runs have come to in one transaction: steps, ends, parks; claims the next."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from uuid import UUID

from app.billing import Billing
from app.kernel.principal import SERVICE
from app.kernel.uow import Transactions, UnitOfWork
from app.kernel.wakeups import Wakeups
from app.orchestration import store as queue
from app.orchestration.lifecycle import DUE_TOPIC, Lifecycle, job_topic
from app.orchestration.types import Lease
from app.orchestration.workflow.running import store
from app.orchestration.workflow.running.records import Stored
from app.orchestration.workflow.running.run import Writes

KIND = "workflow"
_TOLD = 20


@dataclass(slots=True)
class Written:
    """What a transaction did: runs that lost their jobs, and jobs claimed with what they left."""

    lost: set[UUID] = field(default_factory=set)
    leases: list[Lease] = field(default_factory=list)
    stored: dict[UUID, Stored] = field(default_factory=dict)


class Writer:
    """The one way of runs to the database."""

    def __init__(
        self,
        transactions: Transactions,
        wakeups: Wakeups,
        lifecycle: Lifecycle,
        billing: Billing,
        lease_s: float,
        worker: str,
    ) -> None:
        self._transactions = transactions
        self._wakeups = wakeups
        self._lifecycle = lifecycle
        self._billing = billing
        self._lease_s = lease_s
        self._worker = worker

    async def write(
        self, batch: Sequence[Writes], room: int = 0, ids: Sequence[UUID] | None = None
    ) -> Written:
        """Write a batch, one entry a run, and claim up to `room` jobs; all of it or nothing.

        Only jobs among `ids` are claimed if any are named.
        """
        done = Written()
        async with self._transactions.begin(SERVICE) as uow:
            await self._save(uow, batch, done.lost)
            await self._leave(uow, batch, done.lost)
            if room > 0:
                await self._claim(uow, room, done, ids)
        return done

    async def _save(self, uow: UnitOfWork, batch: Sequence[Writes], lost: set[UUID]) -> None:
        steps = [(one.run.lease, one.steps) for one in batch if one.steps]
        if steps:
            lost |= _missing(steps, await store.save_steps(uow, steps))
        lines = [(one.run.lease, one.lines) for one in batch if one.lines]
        if lines:
            lost |= _missing(lines, await store.save_lines(uow, lines))
        waits = [(one.run.lease, one.waits) for one in batch if one.waits]
        if waits:
            lost |= _missing(waits, await store.save_waits(uow, waits))
        usages = [u for one in batch if one.run.lease.job_id not in lost for u in one.usages]
        if usages:
            await self._billing.meter(uow, usages)
        seen = [
            one.run.lease.job_id for one in batch if one.end is None and (one.steps or one.lines)
        ]
        uow.after_commit(partial(self._tell, seen))

    async def _leave(self, uow: UnitOfWork, batch: Sequence[Writes], lost: set[UUID]) -> None:
        """End runs that are over, give up the leases of those that wait."""
        parks = [(one.run.lease, one.park) for one in batch if one.park is not None]
        if parks:
            parked = await store.park(uow, parks)
            lost |= {lease.job_id for lease, _ in parks} - parked
            if parked:
                uow.after_commit(partial(self._wakeups.wake, DUE_TOPIC))
        # Last: it locks wallets and limits, and waits for queue rows come before those.
        ends = [one.end for one in batch if one.end is not None]
        if ends:
            done = await self._lifecycle.finish_many(uow, ends)
            lost |= {end.lease.job_id for end in ends} - done

    async def _claim(
        self, uow: UnitOfWork, room: int, done: Written, ids: Sequence[UUID] | None
    ) -> None:
        done.leases = await queue.claim(uow, KIND, room, self._lease_s, self._worker, ids=ids)
        earlier = [lease.job_id for lease in done.leases if _may_have_steps(lease)]
        if earlier:
            done.stored = await store.load(uow, earlier)

    def _tell(self, jobs: Sequence[UUID]) -> None:
        # Beyond a few, followers in other processes find out by looking.
        is_local = len(jobs) > _TOLD
        for job_id in jobs:
            self._wakeups.wake(job_topic(job_id), is_local=is_local)


def _missing(asked: Sequence[tuple[Lease, object]], done: set[UUID]) -> set[UUID]:
    return {lease.job_id for lease, _ in asked} - done


def _may_have_steps(lease: Lease) -> bool:
    return lease.attempt > 1 or "forked_from" in lease.job.definition
