"""The database, the wake-ups and the workers go away at random: no job is lost or paid twice."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest

from app.kernel.errors import AppError, Code
from app.kernel.settings import Settings
from app.kernel.wakeups import Wakeups
from app.orchestration import Jobs, Lifecycle
from tests.books import assert_balanced
from tests.faults.conftest import Platform, new_user, until
from tests.faults.own_hub import OwnHub
from tests.faults.tiny import FILES, PRICE
from tests.faults.worker_process import open_services, settings_of

pytestmark = pytest.mark.anyio

SEED = 20240607
JOBS = 40
KILLS = 6


@pytest.fixture
async def own_platform(own_hub: OwnHub, home: Path) -> AsyncIterator[Platform]:
    dsn = own_hub.hub.dsn("app_backend")
    async with open_services(Settings(**settings_of(dsn, home)), dsn) as services:
        platform = Platform(services, dsn, home, await new_user(services))
        yield platform
        await assert_balanced(services.database)


async def submit_until_refused(platform: Platform, accepted: list[UUID]) -> AppError:
    """Submit as fast as one caller can; what the server acknowledged is in `accepted`."""
    while True:
        try:
            accepted.append((await platform.submit()).job_id)
        except AppError as error:
            return error


async def test_the_database_is_killed_under_a_running_worker(
    own_hub: OwnHub, own_platform: Platform
) -> None:
    platform, accepted = own_platform, list[UUID]()
    async with platform.working(lease_seconds=2.0, max_attempts=1000) as worker:
        refused = asyncio.create_task(submit_until_refused(platform, accepted))

        async def is_busy() -> bool:
            return len(accepted) >= 10

        await until(is_busy)
        await asyncio.to_thread(own_hub.kill)
        async with asyncio.timeout(30):
            assert (await refused).code is Code.HUB_UNAVAILABLE
        await asyncio.to_thread(own_hub.start_again)
        accepted.append((await platform.submit()).job_id)
        for job_id in accepted:
            await platform.until_ended(job_id)
        assert not worker.done()
    for job_id in accepted:
        await platform.assert_ended_once(job_id, "Success", PRICE)
    # A submit whose answer was lost may have been made: it is a whole job too.
    made = [row[0] for row in await platform.rows("select job_id from app.processing_jobs")]
    assert set(accepted) <= set(made)
    assert len(made) <= len(accepted) + 1
    for job_id in set(made) - set(accepted):
        await platform.until_ended(job_id)
    await platform.assert_wallet(len(made) * PRICE)


async def test_a_job_starts_though_its_wake_up_is_lost(platform: Platform) -> None:
    platform.start_worker()
    first = await platform.submit()
    await platform.until_ended(first.job_id)
    # Wake-ups without a connection reach this process only: the worker has to look by itself.
    services, deaf = platform.services, Wakeups(None)
    lifecycle = Lifecycle(services.billing, services.storage, deaf)
    jobs = Jobs(services.billing, lifecycle, services.database, deaf)
    silent = replace(platform, services=replace(services, jobs=jobs))
    second = await silent.submit(note="unannounced")
    done = await silent.until_ended(second.job_id, seconds=30)
    assert done.final_output == {"note": "unannounced"}
    await platform.assert_wallet(2 * PRICE)


async def test_two_workers_are_killed_again_and_again_over_a_full_queue(platform: Platform) -> None:
    chance = random.Random(SEED)
    jobs = [(await platform.submit(note=str(number))).job_id for number in range(JOBS)]
    # A pause of a worker that lives may cost a lease as well: attempts must not run out.
    changes = {"lease_seconds": 1.0, "max_attempts": 1000}
    crew = [platform.start_worker(**changes) for _ in range(2)]
    for number in range(KILLS):
        wanted = (number + 1) * JOBS // (KILLS + 2)

        async def is_far_enough(wanted: int = wanted) -> bool:
            rows = await platform.rows("select count(*) from app.settlement")
            return bool(rows[0][0] >= wanted)

        await until(is_far_enough, 60)
        place = chance.randrange(2)
        os.kill(crew[place].pid or 0, signal.SIGKILL)
        crew[place] = platform.start_worker(**changes)
    for number, job_id in enumerate(jobs):
        assert (await platform.until_ended(job_id)).final_output == {"note": str(number)}
    for job_id in jobs:
        await platform.assert_ended_once(job_id, "Success", PRICE)
        assert sorted(await platform.artifacts(job_id)) == FILES
    await platform.assert_wallet(JOBS * PRICE)
