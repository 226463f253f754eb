"""The ends of a job: one transaction settles its credits, files, row and trace together."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any
from uuid import UUID

from app.billing import Billing, Settlement
from app.kernel.errors import AppError, Code
from app.kernel.uow import UnitOfWork
from app.kernel.wakeups import Wakeups
from app.orchestration import store
from app.orchestration.admission import Admission, OpenAdmission
from app.orchestration.operations import bury
from app.orchestration.records import store as records
from app.orchestration.types import End, Ended, JobView, Lease, Outcome
from app.orchestration.usage import closings
from app.storage import Storage

JOBS_TOPIC = "jobs"
DUE_TOPIC = "due"
CANCELS_TOPIC = "cancels"
_TOLD = 20

Announce = Callable[[UnitOfWork, Sequence[tuple[End, UUID]]], Awaitable[None]]
"""Told of ends whose jobs name a webhook, in the transaction that ends them."""


def jobs_topic(kind: str) -> str:
    """The wake-up topic of new jobs of a kind; `JOBS_TOPIC` is that of any kind."""
    return f"{JOBS_TOPIC}.{kind}"


Charges = Callable[[UnitOfWork, Sequence[End]], Awaitable[Sequence[End]]]
"""Says what ends cost that do not say it themselves, before the jobs end."""


def job_topic(job_id: UUID) -> str:
    """The wake-up topic of one job's trace."""
    return f"job:{job_id}"


def user_topic(user_id: UUID) -> str:
    """The wake-up topic of a user's list of jobs: one was queued or has ended."""
    return f"user:{user_id}"


def _newest(ends: Sequence[End]) -> Sequence[End]:
    """One end a job: a batch may hold that of a lost lease beside that of the lease after it."""
    newest: dict[UUID, End] = {}
    for end in ends:
        known = newest.setdefault(end.lease.job_id, end)
        if known.lease.attempt < end.lease.attempt:
            newest[end.lease.job_id] = end
    return list(newest.values())


class Lifecycle:
    """Moves jobs to their next state. Every move of a running job needs its fencing token."""

    def __init__(
        self,
        billing: Billing,
        storage: Storage,
        wakeups: Wakeups,
        *,
        admission: Admission | None = None,
        announce: Announce | None = None,
        charges: Charges | None = None,
    ) -> None:
        self._billing = billing
        self._admission = admission or OpenAdmission()
        self._announce = announce
        self._storage = storage
        self._wakeups = wakeups
        self._charges = charges

    async def append(
        self,
        uow: UnitOfWork,
        job: JobView,
        kind: str,
        data: Mapping[str, Any],
        once: str | None = None,
    ) -> None:
        """Add a line to the trace and wake whoever follows it."""
        await records.append_event(uow, job.job_id, job.user_id, kind, data, once)
        self._tell(uow, job.job_id)

    async def fence(self, uow: UnitOfWork, lease: Lease) -> None:
        """Hold the job against everyone else for this transaction, or raise `lease_lost`."""
        if not await store.lock_lease(uow, lease.job_id, lease.attempt):
            raise self._lost(lease)

    async def finish_many(self, uow: UnitOfWork, ends: Sequence[End]) -> set[UUID]:
        """End runs: success captures the price, anything else releases it but for usage.

        Returns the jobs ended now; a run whose token is stale changes nothing.
        """
        if self._charges is not None:
            ends = await self._charges(uow, ends)
        ends = _newest(ends)
        ended = await store.complete(uow, ends)
        done = {one.job_id for one in ended}
        held = sorted((e for e in ends if e.lease.job_id in done), key=lambda e: e.lease.job_id)
        metered = await closings(self._billing, uow, held)
        await self._billing.settle_many(
            uow,
            [
                *chain.from_iterable(metered.values()),
                *(
                    Settlement(
                        end.lease.job_id,
                        "captured" if end.charged_micro or end.status == "Success" else "released",
                        end.charged_micro,
                        end.usage,
                    )
                    for end in held
                    if end.lease.job_id not in metered
                ),
            ],
        )
        await self._pass_on(uow, ended, held)
        # Beyond a few, followers in other processes find out by looking.
        is_local = len(held) > _TOLD
        if not is_local or self._wakeups.has_followers:
            for end in held:
                self._tell(uow, end.lease.job_id, is_local=is_local)
        for user_id in {end.lease.job.user_id for end in held}:
            uow.after_commit(partial(self._wakeups.wake, user_topic(user_id)))
        return done

    async def _pass_on(self, uow: UnitOfWork, ended: Sequence[Ended], held: list[End]) -> None:
        if any(end.status == "Dead" for end in held):
            rows = {one.job_id: one for one in ended}
            # Before the limits are released: a dead letter remembers them.
            await bury(uow, [(e, rows[e.lease.job_id]) for e in held if e.status == "Dead"])
        if limited := [one.job_id for one in ended if one.is_limited]:
            await self._admission.release(uow, limited)
        if self._announce is not None and any(one.webhook_id for one in ended):
            hooks = {one.job_id: one.webhook_id for one in ended}
            told = [(end, hook) for end in held if (hook := hooks[end.lease.job_id]) is not None]
            await self._announce(uow, told)

    async def finish(self, uow: UnitOfWork, lease: Lease, outcome: Outcome) -> None:
        """End a run with its files, or raise `lease_lost`."""
        error = None if outcome.error is None else outcome.error.as_dict()
        status = "Success" if outcome.is_success else "Failed"
        await self._end(uow, End(lease, status, outcome.output or None, error))
        for artifact in outcome.files:
            await self._storage.attach(
                uow,
                user_id=lease.job.user_id,
                project_id=lease.job.project_id,
                job_id=lease.job_id,
                blob=artifact.blob,
                name=artifact.name,
                media_type=artifact.media_type,
                kind="artifact",
            )

    async def bury(self, uow: UnitOfWork, lease: Lease, error: AppError) -> None:
        """Put a job aside as Dead and release its credits."""
        await self._end(uow, End(lease, "Dead", error=error.as_dict()))

    async def retry(self, uow: UnitOfWork, lease: Lease, error: AppError, delay_s: float) -> None:
        """Give a job back to the queue after a failure."""
        await self.fence(uow, lease)
        data = {"attempt": lease.attempt, "delay_s": round(delay_s, 3), "error": error.as_dict()}
        await self.append(uow, lease.job, "job.retrying", data)
        await store.give_back(uow, lease.job_id, lease.attempt, delay_s=delay_s, is_failure=True)
        uow.after_commit(lambda: self._wakeups.wake(DUE_TOPIC))

    async def cancel(self, uow: UnitOfWork, lease: Lease) -> None:
        """End a job as Cancelled and release its credits, but for what it has used."""
        error = AppError(Code.JOB_CANCELLED, "The job was cancelled by its owner.")
        await self._end(uow, End(lease, "Cancelled", error=error.as_dict()))

    async def _end(self, uow: UnitOfWork, end: End) -> None:
        if not await self.finish_many(uow, [end]):
            raise self._lost(end.lease)

    def _lost(self, lease: Lease) -> AppError:
        return AppError(
            Code.LEASE_LOST, f"Attempt {lease.attempt} no longer holds job {lease.job_id}."
        )

    def _tell(self, uow: UnitOfWork, job_id: UUID, *, is_local: bool = False) -> None:
        uow.after_commit(partial(self._wakeups.wake, job_topic(job_id), is_local=is_local))
