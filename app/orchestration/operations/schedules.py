"""The facade of schedules: an owner makes, changes, pauses, looks at and backfills them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from itertools import islice
from uuid import UUID

from app.kernel.errors import AppError, Code
from app.kernel.ids import new_id
from app.kernel.uow import UnitOfWork
from app.orchestration.operations import store
from app.orchestration.operations.cron import Cron
from app.orchestration.operations.firing import Firing, cron_of
from app.orchestration.operations.types import Moment, Schedule, ScheduleSpec, Submits
from app.orchestration.types import JobRequest

MAX_SCHEDULES = 1000
MAX_BACKFILL = 1000


class Schedules:
    """Schedules of users, in the caller's transaction. What is not the user's is `not_found`."""

    def __init__(self, jobs: Submits) -> None:
        self._firing = Firing(jobs)

    async def create(
        self, uow: UnitOfWork, user_id: UUID, project_id: UUID | None, spec: ScheduleSpec
    ) -> Schedule:
        """Make a schedule; its first moment is the next one from now.

        Raises `invalid_input` for a wrong expression or time zone, `conflict` if the name is taken
        or the user has 1,000 schedules.
        """
        await store.lock_names(uow, user_id)
        if await store.count(uow, user_id) >= MAX_SCHEDULES:
            raise AppError(Code.CONFLICT, f"There are {MAX_SCHEDULES} schedules already.")
        schedule_id, next_at = new_id(), await _next(uow, spec)
        if not await store.insert(uow, schedule_id, user_id, project_id, spec, next_at):
            raise _taken(spec.name)
        return await self.get(uow, user_id, schedule_id)

    async def get(self, uow: UnitOfWork, user_id: UUID, schedule_id: UUID) -> Schedule:
        """One schedule."""
        return _found(await store.get(uow, schedule_id, user_id), schedule_id)

    async def list(
        self, uow: UnitOfWork, user_id: UUID, limit: int = 50, before: UUID | None = None
    ) -> Sequence[Schedule]:
        """The user's schedules, newest first, at most 200; `before` continues after a page."""
        return await store.list_of(uow, user_id, max(1, min(limit, 200)), before)

    async def change(
        self, uow: UnitOfWork, user_id: UUID, schedule_id: UUID, spec: ScheduleSpec
    ) -> Schedule:
        """Replace what a schedule says. Moments before now are not fired by it any more."""
        await store.lock_names(uow, user_id)
        _found(await store.get(uow, schedule_id, user_id, is_locked=True), schedule_id)
        if await store.is_name_taken(uow, user_id, spec.name, schedule_id):
            raise _taken(spec.name)
        await store.update(uow, schedule_id, spec, await _next(uow, spec))
        return await self.get(uow, user_id, schedule_id)

    async def set_paused(
        self, uow: UnitOfWork, user_id: UUID, schedule_id: UUID, *, is_paused: bool
    ) -> Schedule:
        """Pause or resume; the moments of a pause are not caught up, but can be backfilled."""
        schedule = await self.get(uow, user_id, schedule_id)
        if schedule.spec.is_paused == is_paused:
            return schedule
        return await self.change(
            uow, user_id, schedule_id, replace(schedule.spec, is_paused=is_paused)
        )

    async def delete(self, uow: UnitOfWork, user_id: UUID, schedule_id: UUID) -> None:
        """Delete a schedule; its jobs stay."""
        if not await store.delete(uow, schedule_id, user_id):
            _found(None, schedule_id)

    async def moments(
        self,
        uow: UnitOfWork,
        user_id: UUID,
        schedule_id: UUID,
        limit: int = 50,
        before: datetime | None = None,
    ) -> Sequence[Moment]:
        """What became of the newest moments, newest first, at most 200 a page."""
        await self.get(uow, user_id, schedule_id)
        return await store.moments(uow, schedule_id, max(1, min(limit, 200)), before)

    async def backfill(
        self,
        uow: UnitOfWork,
        schedule: Schedule,
        made: JobRequest,
        first: datetime,
        last: datetime,
    ) -> Sequence[Moment]:
        """Fire the moments in [first, last] that have no job yet; at most 1,000, all of the past.

        `made` is the schedule's job as of `schedule`; a change meanwhile is a `conflict`. The
        overlap policy does not hold here: who backfills asks for each of the moments.
        """
        locked = await store.get(uow, schedule.schedule_id, schedule.user_id, is_locked=True)
        if _found(locked, schedule.schedule_id).version != schedule.version:
            raise AppError(Code.CONFLICT, "The schedule was changed meanwhile; try again.")
        wanted = _past_moments(schedule, first, last, await store.now(uow))
        had = await store.known(uow, schedule.schedule_id, wanted)
        done = await self._firing.all(
            uow, schedule, made, [moment for moment in wanted if moment not in had]
        )
        if done:
            await store.record(uow, schedule, done)
        return done


def preview(cron: str, time_zone: str, after: datetime, count: int = 5) -> Sequence[datetime]:
    """The next moments of an expression; `invalid_input` if it is none."""
    return list(islice(Cron(cron, time_zone).after(after), count))


def _past_moments(
    schedule: Schedule, first: datetime, last: datetime, now: datetime
) -> Sequence[datetime]:
    if first > last or last > now:
        raise AppError(
            Code.INVALID_INPUT,
            "A backfill is from a moment to a later one, both of the past.",
            details={"pointer": "/to"},
        )
    wanted = cron_of(schedule).between(first, last, MAX_BACKFILL + 1)
    if len(wanted) > MAX_BACKFILL:
        raise AppError(
            Code.INVALID_INPUT,
            f"There are more than {MAX_BACKFILL} moments between the two.",
            hint=f"Backfill in pieces; the first ends at {wanted[MAX_BACKFILL - 1].isoformat()}.",
            details={"pointer": "/to"},
        )
    return wanted


async def _next(uow: UnitOfWork, spec: ScheduleSpec) -> datetime | None:
    cron = Cron(spec.cron, spec.time_zone)
    next_at = cron.next(await store.now(uow))
    if next_at is None:
        raise AppError(
            Code.INVALID_INPUT,
            f"{spec.cron!r} names no moment of the next 50 years.",
            details={"pointer": "/cron"},
        )
    return None if spec.is_paused else next_at


def _found(schedule: Schedule | None, schedule_id: UUID) -> Schedule:
    if schedule is None:
        raise AppError(Code.NOT_FOUND, f"There is no schedule {schedule_id}.")
    return schedule


def _taken(name: str) -> AppError:
    return AppError(
        Code.CONFLICT,
        f"There is a schedule named {name!r} already.",
        hint="Change that one, or take another name.",
        details={"pointer": "/name"},
    )
