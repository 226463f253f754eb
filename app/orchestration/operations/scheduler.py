"""Fires schedules that are due. Any number of schedulers may share a database."""

import logging

from app.kernel.errors import AppError, Code
from app.kernel.principal import SERVICE
from app.kernel.uow import Transactions, UnitOfWork
from app.orchestration.operations import store
from app.orchestration.operations.firing import Firing, cron_of, due_moments
from app.orchestration.operations.types import MakesJob, Moment, Schedule, Submits
from app.orchestration.types import JobRequest

_log = logging.getLogger(__name__)


class Scheduler:
    """Looks for due schedules and fires each in a transaction of its own.

    The job is made before the schedule is locked, so that no lock waits for a price. A job that
    cannot be made, or that the wallet does not cover, is recorded on the schedule, and the moment
    is over; only where trying again helps it stays due.
    """

    def __init__(self, transactions: Transactions, jobs: Submits, make: MakesJob) -> None:
        self._transactions = transactions
        self._firing = Firing(jobs)
        self._make = make

    async def run_once(self, limit: int = 100) -> int:
        """Fire up to `limit` due schedules; returns how many were fired here."""
        async with self._transactions.begin(SERVICE) as uow:
            due = await store.due(uow, limit)
        fired = 0
        for schedule in due:
            try:
                fired += await self._fire(schedule)
            except AppError as error:
                _log.warning("schedule not fired", extra=_about(schedule, error))
            except Exception:  # noqa: BLE001 - it stays due, and the others go on
                _log.exception("schedule not fired", extra=_about(schedule))
        return fired

    async def _fire(self, schedule: Schedule) -> bool:
        made = await self._made(schedule)
        async with self._transactions.begin(SERVICE) as uow:
            locked = await store.lock_due(uow, schedule.schedule_id, schedule.version)
            if locked is None:
                return False
            await self._move(uow, locked, made)
        return True

    async def _made(self, schedule: Schedule) -> JobRequest | AppError:
        try:
            return await self._make.request(schedule)
        except AppError as error:
            if error.is_retryable:
                raise
            return error
        except Exception as error:  # noqa: BLE001 - it would fail at every look, before the others
            _log.exception("a schedule's job cannot be made", extra=_about(schedule))
            return AppError(Code.INTERNAL, f"The job could not be made: {type(error).__name__}.")

    async def _move(self, uow: UnitOfWork, schedule: Schedule, made: JobRequest | AppError) -> None:
        now = await store.now(uow)
        assert schedule.next_at is not None
        try:
            moments, left = due_moments(schedule, now)
            next_at = cron_of(schedule).next(now)
        except AppError as error:
            # Its time zone or expression means nothing any more: it rests, and says why.
            failed = Moment(schedule.next_at, "Refused", error=error.as_dict())
            await store.advance(uow, schedule, None, [failed])
            return
        done = await self._firing.scheduled(uow, schedule, made, moments)
        records = [*([left] if left else []), *done]
        if records:
            await store.record(uow, schedule, records)
        await store.advance(uow, schedule, next_at, done)


def _about(schedule: Schedule, error: AppError | None = None) -> dict[str, str]:
    about = {"schedule": str(schedule.schedule_id)}
    return about if error is None else about | {"code": error.code.value}
