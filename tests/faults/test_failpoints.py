"""A fault between every pair of statements of a job's life: nothing lost, doubled or half done.

For each point: one fault, then the platform goes on by itself, the job has its one end and its
one settlement, and the books balance. Points are counted until a run no longer meets its own.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from app.kernel.errors import AppError, Code
from app.orchestration import Intake, JobRequest, Jobs, Submitted
from tests.books import assert_balanced
from tests.faults.conftest import LONG_LEASE_S, expire, until
from tests.faults.crew import Crew, open_crew, run_task
from tests.faults.failpoints import FAULTS, Failpoints
from tests.faults.summary import SECONDS, record
from tests.orchestration.conftest import Bench

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]

QUICK = {"lease_seconds": 0.4, "poll_seconds": 0.03}
MOST = 200
# In the short form every second point of the longer lives; `make faults` takes each.
KILLED = [(name, 1 if SECONDS else 2) for name in ("call that fails for ever", "task")]


@pytest.fixture
async def crew(dsn: str, home: Path) -> AsyncIterator[Crew]:
    async with open_crew(dsn, home, **QUICK) as made:
        made.bench.handler.run_once = run_task
        yield made


def over(bench: Bench, points: Failpoints) -> Bench:
    """The modules, with their transactions going through the points."""
    jobs = Jobs(bench.billing, bench.lifecycle, bench.database, bench.wakeups)
    return replace(bench, database=points, jobs=jobs)  # type: ignore[arg-type]


async def assert_whole(crew: Crew, status: str | set[str]) -> None:
    """Every job there is has ended so, once, and is paid exactly if it succeeded."""
    wanted = {status} if isinstance(status, str) else status
    for row in await crew.rows():
        assert row.status in wanted, row
        assert not row.is_queued
        paid = ("captured", row.price) if row.status == "Success" else ("released", 0)
        assert list(row.settlements) == [paid], row
    await assert_balanced(crew.bench.database)


async def assert_answered(crew: Crew, results: list[Any], count: int) -> None:
    """Whoever was told that it is queued finds it; whoever was told nothing may ask again."""
    rows = await crew.rows()
    assert len(rows) == count
    known = {row.job_id for row in rows}
    for one in results:
        if isinstance(one, Submitted):
            assert str(one.job.job_id) in known


async def test_a_fault_at_every_point_of_a_submit(crew: Crew) -> None:
    bench, faults = crew.bench, cycle(FAULTS.values())
    number = 0
    for number in range(MOST):
        points = Failpoints(bench.database, number, next(faults))
        made = over(bench, points)
        requests = [crew.request(idempotency_key=f"{number}-{n}") for n in range(3)]
        before = len(await crew.rows())
        try:
            async with points.begin(bench.user.elevated()) as uow:
                results: list[Any] = await made.jobs.submit_many(uow, requests)
        except AppError as error:
            results = []
            code = error.code
        else:
            code = Code.HUB_UNAVAILABLE
        assert code in (Code.HUB_UNAVAILABLE, Code.HUB_DISK_FULL)
        # All or nothing of the transaction, whatever the caller was told.
        assert len(await crew.rows()) - before in ((0, 3) if points.has_fired else (3,))
        again = await Intake(bench.jobs, bench.database).submit_many(requests)
        await assert_answered(crew, [*results, *again], before + 3)
        assert all(isinstance(one, Submitted) for one in again)
        await assert_balanced(bench.database)
        if not points.has_fired:
            break
    else:
        pytest.fail("the points have no end")
    assert number >= 5
    record("submit_points", points=number)


@dataclass(frozen=True)
class Case:
    """A job, how it ends, and how often a fault may cost it one more call."""

    request: Callable[[Crew], JobRequest]
    status: str = "Success"
    max_attempts: int = 100


CASES = {
    "call": Case(lambda crew: crew.request()),
    "refused call": Case(lambda crew: crew.request("crew.refuse"), "Failed"),
    "call that fails for ever": Case(lambda crew: crew.request("crew.down"), "Dead", 2),
    "task": Case(lambda crew: crew.request(kind="task")),
}


@pytest.mark.parametrize("name", CASES)
async def test_a_fault_at_every_point_of_a_job(crew: Crew, name: str) -> None:
    case, bench, faults = CASES[name], crew.bench, cycle(FAULTS.values())
    number = 0
    for number in range(MOST):
        job = (await Intake(bench.jobs, bench.database).submit(case.request(crew))).job
        points = Failpoints(bench.database, number, next(faults))
        worker = over(bench, points).new_worker(max_attempts=case.max_attempts)
        task = asyncio.create_task(worker.run())
        done = await bench.until_ended(job.job_id)
        has_fired = points.has_fired
        assert not task.done(), "a worker must outlive a fault of its database"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert done.status == case.status, (number, done.error)
        if not has_fired:
            break
    else:
        pytest.fail("the points have no end")
    assert number >= 4
    await assert_whole(crew, case.status)
    record(f"points_of_{name.replace(' ', '_')}", points=number)


@pytest.mark.parametrize(("name", "step"), [("call", 1), *KILLED])
async def test_a_worker_is_killed_at_every_point_of_a_job(crew: Crew, name: str, step: int) -> None:
    case, bench = CASES[name], crew.bench
    number = 0
    for number in range(0, MOST, step):
        job = (await Intake(bench.jobs, bench.database).submit(case.request(crew))).job
        # Its lease is long: only the test's decree ends it, so that nothing waits.
        worker = crew.start(
            dies_at=number,
            lease_seconds=LONG_LEASE_S,
            max_attempts=case.max_attempts,
            poll_seconds=5,
        )

        async def is_decided(worker: Any = worker, job_id: Any = job.job_id) -> bool:
            return worker.exitcode is not None or (await bench.view(job_id)).is_terminal

        await until(is_decided)
        has_died = worker.exitcode == -signal.SIGKILL
        worker.terminate()
        await expire(bench.database)
        async with bench.working(max_attempts=case.max_attempts):
            done = await bench.until_ended(job.job_id)
        assert done.status == case.status, (number, done.error)
        if not has_died:
            break
    else:
        pytest.fail("the points have no end")
    assert number >= 4
    await assert_whole(crew, case.status)
    record(f"kills_of_{name.replace(' ', '_')}", points=number)
