"""Admission over real PostgreSQL: jobs are queue rows, so that thousands cost a statement."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest

from app.kernel.db import Database
from app.kernel.ids import new_id
from app.kernel.principal import SERVICE
from app.kernel.uow import UnitOfWork
from app.kernel.wakeups import Wakeups
from app.orchestration.limits import Admission, JobLimits, LimitKeeper, Numbers


@dataclass(frozen=True)
class Asked:
    """What admission reads of a request."""

    user_id: UUID
    limit_names: tuple[str, ...]
    priority: int = 0
    run_at: datetime | None = None


@dataclass
class Desk:
    """The modules of limits and what a test asks of the tables."""

    database: Database
    wakeups: Wakeups
    admission: Admission
    limits: JobLimits
    keeper: LimitKeeper
    user: UUID = field(default_factory=new_id)

    async def put(self, name: str, **numbers: Any) -> None:
        async with self.database.begin(SERVICE) as uow:
            await self.limits.put(uow, name, Numbers(**numbers))

    async def submit(self, asked: Sequence[Asked]) -> list[UUID]:
        items = [(new_id(), one) for one in asked]
        async with self.database.begin(SERVICE) as uow:
            await park(uow, items)
            await self.admission.admit(uow, items)
        return [job_id for job_id, _ in items]

    async def submit_keyed(self, name: str, count: int, *more: str) -> list[UUID]:
        return await self.submit([Asked(self.user, (name, *more))] * count)

    async def end(self, jobs: Sequence[UUID]) -> None:
        async with self.database.begin(SERVICE) as uow:
            # One at a time takes a job's row first, as every end does.
            await uow.execute(
                "delete from app.job_queue where job_id = any(:jobs)", {"jobs": list(jobs)}
            )
            await self.admission.release(uow, jobs)

    async def rows(self, sql: str, **values: Any) -> list[Any]:
        async with self.database.begin(SERVICE) as uow:
            return list((await uow.execute(sql, values)).all())

    async def ready(self) -> list[UUID]:
        """Jobs that are let in, oldest first."""
        rows = await self.rows(
            "select job_id from app.job_queue where parked_as is null order by job_id"
        )
        return [row.job_id for row in rows]

    async def assert_sound(self) -> None:
        """Slots, counters and parked jobs tell the same story, and nothing is exceeded."""
        wrong = await self.rows(
            """
            select l.name from app.job_limit l where l.in_use <> (
              select count(*) from app.job_slot s where s.name = l.name and s.is_held)
            """
        )
        assert wrong == []
        split = await self.rows(
            """
            select q.job_id from app.job_queue q join app.job_slot s using (job_id)
            group by q.job_id, q.parked_as
            having bool_or(s.is_held) <> bool_and(s.is_held)
              or bool_and(s.is_held) <> (q.parked_as is null)
              or (q.parked_as is not null and max(s.due_at) is null
                and count(*) filter (where s.is_in_line) <> 1)
            """
        )
        assert split == []


async def park(uow: UnitOfWork, items: Sequence[tuple[UUID, Asked]]) -> None:
    """Queue rows as the platform inserts limited jobs."""
    await uow.execute(
        """
        insert into app.job_queue (job_id, user_id, kind, run_at, parked_as, is_limited)
        select job_id, user_id, 'task', 'infinity', 'Limited', true
        from unnest(cast(:jobs as uuid[]), cast(:users as uuid[])) as a(job_id, user_id)
        """,
        {"jobs": [job for job, _ in items], "users": [one.user_id for _, one in items]},
    )


@pytest.fixture
async def desk(database: Database) -> AsyncIterator[Desk]:
    wakeups = Wakeups(None)
    admission, limits = Admission(wakeups), JobLimits(wakeups)
    keeper = LimitKeeper(database, wakeups, admission, limits)
    made = Desk(database, wakeups, admission, limits, keeper)
    yield made
    await made.assert_sound()


async def gathered(*tasks: Any) -> None:
    """All at once; the first error is raised."""
    await asyncio.gather(*tasks)
