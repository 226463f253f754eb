"""A user's schedules over real jobs; the job of a schedule is made as a test says."""

from collections.abc import Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from app.billing import Quote
from app.kernel.errors import AppError
from app.kernel.principal import SERVICE
from app.orchestration.operations import Moment, Schedule, Scheduler, Schedules, ScheduleSpec
from app.orchestration.types import JobRequest
from tests.orchestration.conftest import Bench

PRICE = 1_000
HOUR = timedelta(hours=1)


@dataclass
class Maker:
    """Makes jobs of kind `later`, which no worker runs, or fails as a test says."""

    error: Exception | None = None
    price: int = PRICE
    calls: list[UUID] = field(default_factory=list)
    before: Any = None

    async def request(self, schedule: Schedule) -> JobRequest:
        self.calls.append(schedule.schedule_id)
        if self.before is not None:
            await self.before()
        if self.error is not None:
            raise self.error
        return JobRequest(
            user_id=schedule.user_id,
            kind="later",
            definition=dict(schedule.spec.job),
            price=Quote("tool", "t", "outcome", self.price, 1),
            priority=schedule.spec.priority,
        )


@dataclass
class Desk:
    """What a test does with schedules.

    `newest` is a moment of the minute in which the test began, `cron` comes at that minute of
    every hour: however long a test takes, no moment comes meanwhile.
    """

    bench: Bench
    schedules: Schedules
    maker: Maker
    scheduler: Scheduler
    newest: datetime

    @property
    def cron(self) -> str:
        return f"{self.newest.minute} * * * *"

    async def make(self, cron: str | None = None, **changes: Any) -> Schedule:
        name = changes.pop("name", "s")
        spec = ScheduleSpec(name, cron or self.cron, changes.pop("job", {"n": 1}), **changes)
        async with self.begin() as uow:
            return await self.schedules.create(uow, self.bench.user.owner, None, spec)

    @asynccontextmanager
    async def begin(self) -> Any:
        async with self.bench.database.begin(self.bench.user.elevated()) as uow:
            yield uow

    async def sql(self, statement: str, **params: Any) -> Sequence[Any]:
        async with self.bench.database.begin(SERVICE) as uow:
            result = await uow.execute(statement, params)
            return result.all() if result.returns_rows else []

    async def due(self, schedule: Schedule, at: datetime) -> None:
        """Set the next moment, so that it has come."""
        await self.sql(
            "update app.job_schedule set next_at = :at where schedule_id = :id",
            at=at,
            id=schedule.schedule_id,
        )

    async def late(self, schedule: Schedule, moments: int) -> datetime:
        """Let so many moments have been missed before the newest."""
        at = self.newest - moments * HOUR
        await self.due(schedule, at)
        return at

    async def get(self, schedule: Schedule) -> Schedule:
        async with self.begin() as uow:
            return await self.schedules.get(uow, schedule.user_id, schedule.schedule_id)

    async def moments(self, schedule: Schedule) -> Sequence[Moment]:
        async with self.begin() as uow:
            return await self.schedules.moments(uow, schedule.user_id, schedule.schedule_id, 200)

    async def jobs(self) -> int:
        ((count,),) = await self.sql("select count(*) from app.processing_jobs")
        return int(count)

    async def backfill(
        self, schedule: Schedule, first: datetime, last: datetime
    ) -> Sequence[Moment]:
        made = await self.maker.request(schedule)
        async with self.begin() as uow:
            return await self.schedules.backfill(uow, schedule, made, first, last)


class PowerCut(BaseException):
    """The process ends here."""


def codes(moments: Sequence[Moment]) -> list[Any]:
    return [None if one.error is None else one.error["code"] for one in moments]


def refused(error: AppError) -> str:
    return error.code.value


@pytest.fixture
async def desk(bench: Bench) -> Desk:
    async with bench.database.begin(SERVICE) as uow:
        newest = (await uow.execute("select date_trunc('minute', now())")).scalar_one()
    maker = Maker()
    scheduler = Scheduler(bench.database, bench.jobs, maker)
    return Desk(bench, Schedules(bench.jobs), maker, scheduler, newest.astimezone(UTC))
