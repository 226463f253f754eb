"""A rolling restart under load: old workers leave one by one while new ones take over.

The new release knows a kind of job that the old one does not, and runs what the old one left
half done by the definition that is in the job's own row.
"""

import asyncio
import functools
import random

import pytest

from app.orchestration import Intake
from tests.faults.conftest import LONG_LEASE_S, ended, until
from tests.faults.crew import Crew, Load
from tests.faults.history import figures, judge
from tests.faults.summary import record

pytestmark = pytest.mark.anyio

SEED = 20250314


async def test_workers_are_replaced_one_by_one_under_load(crew: Crew) -> None:
    load = Load(crew, Intake(crew.bench.jobs, crew.bench.database), random.Random(SEED))
    old = [crew.start(lease_seconds=LONG_LEASE_S) for _ in range(3)]
    callers = [asyncio.create_task(load.caller(name)) for name in range(6)]

    async def has_worked(number: int) -> bool:
        return load.made >= number

    for place, worker in enumerate(old):
        await until(lambda wanted=40 * (place + 1): has_worked(wanted))  # type: ignore[misc]
        newer = crew.start(lease_seconds=LONG_LEASE_S)
        await until(functools.partial(crew.has_begun, newer))
        await until(functools.partial(crew.has_begun, worker))
        worker.terminate()
        assert await ended(worker) == 0
    load.is_over = True
    await asyncio.gather(*callers)
    # Leases are long: what an old worker ran was given back, or it would wait for an hour.
    await until(crew.is_idle)
    rows, events = await crew.rows(), crew.diary.read()
    assert judge(events, rows) == []
    assert {row.status for row in rows} == {"Success"}
    assert len({line["pid"] for line in events if line["event"] == "start"}) == 6
    record("rolling_restart", jobs=len(rows), **figures(events))


async def test_a_worker_leaves_alone_what_only_a_newer_one_can_run(crew: Crew) -> None:
    """A kind that is new, and a task whose definition an old worker would not know."""
    bench = crew.bench
    intake = Intake(bench.jobs, bench.database)
    newer = (await intake.submit(crew.request(kind="newer"))).job
    older = (await intake.submit(crew.request())).job
    async with bench.working():
        assert (await bench.until_ended(older.job_id)).status == "Success"
        assert (await bench.view(newer.job_id)).status == "Queued"
    worker = bench.new_worker(lease_seconds=LONG_LEASE_S)
    worker._handlers = {"newer": bench.handler}
    task = asyncio.create_task(worker.run())
    done = await bench.until_ended(newer.job_id)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (done.status, done.attempt) == ("Success", 1)
    # What it ran is the definition it was submitted with.
    assert done.definition == crew.request(kind="newer").definition
