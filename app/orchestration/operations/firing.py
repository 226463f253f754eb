"""Turns moments of a schedule into jobs: which of those that are due, and each exactly once.

A moment's jobs, its record and the schedule's next moment are one transaction, so a crash leaves
all or nothing. The idempotency key `schedule:<id>:<moment>` also holds for backfills, and for
moments whose record has been forgotten.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from app.kernel.errors import AppError, Code
from app.kernel.uow import UnitOfWork
from app.orchestration.operations import store
from app.orchestration.operations.cron import Cron
from app.orchestration.operations.types import Moment, Schedule, Submits
from app.orchestration.types import JobRequest, Submitted

#: A moment older than this, or with a later one due as well, was missed.
ON_TIME = timedelta(minutes=5)


def key_of(schedule_id: UUID, moment: datetime) -> str:
    """The idempotency key of a schedule's moment."""
    return f"schedule:{schedule_id}:{moment:%Y-%m-%dT%H:%M:%SZ}"


def cron_of(schedule: Schedule) -> Cron:
    """The schedule's cron expression; `invalid_input` if its time zone is known no longer."""
    return Cron(schedule.spec.cron, schedule.spec.time_zone)


def due_moments(schedule: Schedule, now: datetime) -> tuple[list[datetime], Moment | None]:
    """The moments to fire of those in [next_at, now], and a record of those that are left out."""
    first = schedule.next_at
    assert first is not None
    spec, cron = schedule.spec, cron_of(schedule)
    found = cron.newest(first, now, spec.catch_up_limit if spec.catch_up == "all" else 1)
    if spec.catch_up == "skip":
        found = [moment for moment in found if now - moment <= ON_TIME]
    if found and found[0] <= first:
        return found, None
    left = [one for one in cron.between(first, now, 1) if not found or one < found[0]]
    if not left:
        return found, None
    until = found[0].isoformat() if found else now.isoformat()
    return found, _skipped(left[0], f"Missed, up to {until}; the catch-up is '{spec.catch_up}'.")


def _skipped(moment: datetime, why: str) -> Moment:
    error = AppError(Code.CONFLICT, why, hint="Backfill the moments that are wanted.")
    return Moment(moment, "Skipped", error=error.as_dict())


class Firing:
    """Queues the jobs of moments in the caller's transaction, which holds the schedule's row."""

    def __init__(self, jobs: Submits) -> None:
        self._jobs = jobs

    async def scheduled(
        self,
        uow: UnitOfWork,
        schedule: Schedule,
        made: JobRequest | AppError,
        moments: Sequence[datetime],
    ) -> list[Moment]:
        """Fire moments under the overlap policy; one that may not run beside another is skipped."""
        if schedule.spec.overlap == "allow" or not moments:
            return await self.all(uow, schedule, made, moments)
        last = schedule.last_job_id
        if last is not None and await store.is_alive(uow, last):
            return [_skipped(moment, f"Job {last} still runs.") for moment in moments]
        done = await self.all(uow, schedule, made, moments[:1])
        return done + [
            _skipped(moment, "The moment before it has just been started.")
            for moment in moments[1:]
        ]

    async def all(
        self,
        uow: UnitOfWork,
        schedule: Schedule,
        made: JobRequest | AppError,
        moments: Sequence[datetime],
    ) -> list[Moment]:
        """Fire moments, oldest first; one that has its job already keeps it."""
        if isinstance(made, AppError):
            return [Moment(moment, "Refused", error=made.as_dict()) for moment in moments]
        requests = [
            made._replace(idempotency_key=key_of(schedule.schedule_id, moment))
            for moment in moments
        ]
        results = await self._jobs.submit_many(uow, requests) if requests else []
        return [_outcome(at, result) for at, result in zip(moments, results, strict=True)]


def _outcome(moment: datetime, result: Submitted | AppError) -> Moment:
    if isinstance(result, Submitted):
        return Moment(moment, "Submitted", result.job.job_id)
    known = result.details.get("job_id")
    if result.code is Code.IDEMPOTENCY_MISMATCH and known is not None:
        # Fired before the schedule was changed; its record has been forgotten since.
        return Moment(moment, "Submitted", UUID(str(known)))
    return Moment(moment, "Refused", error=result.as_dict())
