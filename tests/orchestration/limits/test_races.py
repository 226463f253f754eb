"""Admission under races: many connections, no deadlock, nothing exceeded, nobody forgotten."""

import asyncio
import random
from collections.abc import AsyncIterator
from uuid import UUID

import psycopg
import pytest

from app.kernel.db import Database
from app.kernel.ids import new_id
from app.kernel.principal import SERVICE
from tests.orchestration.limits.conftest import Asked, Desk

pytestmark = [pytest.mark.anyio, pytest.mark.no_books]
TOOLS = ("tool:a.one", "tool:b.two")
MOST = {"tool:a.one": 3, "tool:b.two": 5}


@pytest.fixture
async def wide(desk: Desk, dsn: str) -> AsyncIterator[Desk]:
    """The desk with a connection for each of many clients."""
    narrow, database = desk.database, Database(dsn, pool_size=12)
    desk.database = database
    for name, most in MOST.items():
        await desk.put(name, max_running=most)
    yield desk
    desk.database = narrow
    await database.close()


async def _over(desk: Desk) -> list[str]:
    rows = await desk.rows(
        "select name, count(*) as held from app.job_slot where is_held group by name"
    )
    return [row.name for row in rows if row.held > MOST.get(row.name, 1)]


async def _client(desk: Desk, seed: int, ended: set[UUID]) -> None:
    """Submits batches, ends jobs that run, cancels one that waits; keeps what it ended."""
    draw, mine = random.Random(seed), new_id()
    keys = [f"key:{mine}:{n}" for n in range(3)]
    for _ in range(8):
        asked = [
            Asked(mine, tuple(draw.sample([*TOOLS, draw.choice(keys)], draw.randint(1, 3))))
            for _ in range(draw.randint(1, 12))
        ]
        jobs = await desk.submit(asked)
        rows = await desk.rows(
            "select job_id from app.job_queue where user_id = :u and parked_as is null", u=mine
        )
        going = [*[row.job_id for row in rows][: draw.randint(1, 6)], draw.choice(jobs)]
        for job in dict.fromkeys(going):
            await _end(desk, job, ended)
        assert await _over(desk) == []


async def _end(desk: Desk, job: UUID, ended: set[UUID]) -> None:
    async with desk.database.begin(SERVICE) as uow:
        gone = await uow.execute(
            "delete from app.job_queue where job_id = :j returning job_id", {"j": job}
        )
        if gone.one_or_none() is not None:
            await desk.admission.release(uow, [job])
            ended.add(job)


async def test_limits_hold_under_races_and_everybody_gets_in(wide: Desk) -> None:
    ended: set[UUID] = set()
    before = await wide.rows(
        "select deadlocks from pg_stat_database where datname = current_database()"
    )
    await asyncio.gather(*[_client(wide, seed, ended) for seed in range(10)])
    for _ in range(400):
        await wide.keeper.run_once()
        assert await _over(wide) == []
        ready = await wide.ready()
        if not ready:
            break
        await asyncio.gather(*[_end(wide, job, ended) for job in ready])
    left = await wide.rows("select job_id, parked_as from app.job_queue")
    assert left == []
    assert await wide.rows("select 1 from app.job_slot") == []
    after = await wide.rows(
        "select deadlocks from pg_stat_database where datname = current_database()"
    )
    assert after == before


async def test_changes_of_numbers_race_with_jobs(wide: Desk) -> None:
    async def change() -> None:
        for most in (0, 2, None, 1, 3):
            await wide.put(TOOLS[0], max_running=most)
            await wide.keeper.run_once()

    async def churn(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(6):
            jobs = await wide.submit([Asked(new_id(), TOOLS[: draw.randint(1, 2)])] * 5)
            await _end(wide, draw.choice(jobs), set())

    await asyncio.gather(change(), *[churn(seed) for seed in range(6)])
    await wide.keeper.run_once()
    (row,) = await wide.rows("select in_use from app.job_limit where name = :n", n=TOOLS[0])
    assert row.in_use >= 3


async def test_a_submit_that_fails_leaves_no_slot(wide: Desk) -> None:
    class FellError(Exception):
        pass

    async def fall() -> None:
        from tests.orchestration.limits.conftest import park

        items = [(new_id(), Asked(wide.user, TOOLS))]
        async with wide.database.begin(SERVICE) as uow:
            await park(uow, items)
            await wide.admission.admit(uow, items)
            raise FellError

    with pytest.raises(FellError):
        await fall()
    assert await wide.rows("select 1 from app.job_slot") == []


async def test_one_who_is_just_being_cancelled_is_passed_over(wide: Desk, dsn: str) -> None:
    """A canceller holds the job's row and waits for the limit; an end must not wait for it."""
    name = f"key:{wide.user}:k"
    first, second, third = await wide.submit_keyed(name, 3)
    with psycopg.connect(dsn) as conn:
        conn.execute("select set_config('role', 'service_role', true)")
        conn.execute("select 1 from app.job_queue where job_id = %s for update", (second,))
        await wide.end([first])
        assert await wide.ready() == [third]
        conn.rollback()
    await wide.end([third])
    assert await wide.ready() == [second]
