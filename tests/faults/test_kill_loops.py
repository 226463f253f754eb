"""Workers and the database are killed again and again under load; a history judges the whole."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.orchestration import Intake
from tests.faults.conftest import until
from tests.faults.crew import Crew, Load, open_crew
from tests.faults.history import figures, judge
from tests.faults.own_hub import OwnHub
from tests.faults.summary import SECONDS, record, scaled

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240 + SECONDS)]

SEED = 20250311
CALLERS = 12


@pytest.fixture
async def own_crew(own_hub: OwnHub, home: Path) -> AsyncIterator[Crew]:
    async with open_crew(own_hub.hub.dsn("app_backend"), home) as made:
        yield made


async def pause(chance: random.Random, least: float, most: float) -> None:
    """A random time, in pieces, so that no single wait is long."""
    left = chance.uniform(least, most)
    while left > 0:
        await asyncio.sleep(min(left, 0.25))
        left -= 0.25


async def judged(crew: Crew, load: Load, name: str, **more: int) -> None:
    """Let the callers end and the queue run empty; then nothing may be lost or doubled."""
    load.is_over = True
    await until(crew.is_idle, 90)
    rows, events = await crew.rows(), crew.diary.read()
    assert judge(events, rows) == []
    assert {row.status for row in rows} == {"Success"}
    _, held, captured = await crew.bench.wallet()
    assert (held, captured) == (0, sum(row.price for row in rows))
    seen = figures(events)
    assert seen["acknowledged"] == load.made > 0
    record(name, jobs=len(rows), resubmitted=load.retried, **seen, **more)


async def test_workers_are_killed_again_and_again_under_load(crew: Crew) -> None:
    chance = random.Random(SEED)
    load = Load(crew, Intake(crew.bench.jobs, crew.bench.database), chance)
    alive = [crew.start() for _ in range(3)]
    callers = [asyncio.create_task(load.caller(name)) for name in range(CALLERS)]
    deadline, kills = asyncio.get_running_loop().time() + scaled(7, 0.15), 0
    while asyncio.get_running_loop().time() < deadline or kills < 5:
        await pause(chance, 0.5, scaled(1.0, 0.005))
        place = chance.randrange(len(alive))
        alive[place].kill()
        alive[place] = crew.start()
        kills += 1
    load.is_over = True
    await asyncio.gather(*callers)
    await judged(crew, load, "workers_killed", kills=kills)


async def test_the_database_is_stopped_at_once_again_and_again_under_load(
    own_hub: OwnHub, own_crew: Crew
) -> None:
    crew, chance = own_crew, random.Random(SEED + 1)
    load = Load(crew, Intake(crew.bench.jobs, crew.bench.database), chance)
    for _ in range(2):
        crew.start(lease_seconds=2.0)
    callers = [asyncio.create_task(load.caller(name)) for name in range(CALLERS)]
    deadline, stops = asyncio.get_running_loop().time() + scaled(5, 0.15), 0
    while asyncio.get_running_loop().time() < deadline or stops < 3:
        await pause(chance, 0.5, scaled(2.0, 0.02))
        await asyncio.to_thread(own_hub.stop_at_once)
        stops += 1
        # Now and then a worker dies with the database: both must come back.
        if stops % 3 == 0:
            place = chance.randrange(2)
            crew.workers[place].kill()
            crew.workers[place] = crew.start(lease_seconds=2.0)
        await asyncio.to_thread(own_hub.start_again)
    load.is_over = True
    await asyncio.gather(*callers)
    await judged(crew, load, "database_stopped", stops=stops)
