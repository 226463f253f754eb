"""Workers that are late, die of their work, or recover at the same time as others."""

import asyncio
import functools
import signal
from datetime import datetime
from uuid import UUID

import psutil
import pytest

from app.billing import to_micro
from app.kernel.clock import loop_time
from app.kernel.principal import SERVICE
from app.orchestration import Intake
from app.orchestration.lifecycle import CANCELS_TOPIC
from tests.faults.conftest import LONG_LEASE_S, ended, expire, until
from tests.faults.crew import Crew
from tests.faults.history import figures, judge
from tests.orchestration.conftest import Bench, bench

__all__ = ["bench"]
pytestmark = pytest.mark.anyio

POISONED = 3


async def test_a_worker_that_was_stopped_past_its_lease_ends_nothing(crew: Crew) -> None:
    bench = crew.bench
    intake = Intake(bench.jobs, bench.database)
    job = (await intake.submit(crew.request("crew.stop"))).job
    # Long leases: the late one finds out by its end, and the other one loses none in a pause.
    stopped = crew.start(lease_seconds=LONG_LEASE_S)
    process = psutil.Process(stopped.pid)

    async def is_stopped() -> bool:
        return bool(process.status() == psutil.STATUS_STOPPED)

    await until(is_stopped)
    await expire(bench.database)
    async with bench.working(lease_seconds=LONG_LEASE_S):
        done = await bench.until_ended(job.job_id)
        process.send_signal(signal.SIGCONT)

        async def is_refused() -> bool:
            return bool(figures(crew.diary.read())["late_ends_refused"])

        await until(is_refused)
    assert await bench.view(job.job_id) == done
    # The tool's effect came twice, under one key; the job and the money moved once.
    calls = [line for line in crew.diary.read() if line["event"] == "call"]
    assert [call["key"] for call in calls] == [str(job.job_id)] * 2
    assert done.final_output == {"call": calls[1]["call"]}
    assert (await bench.wallet())[1:] == (0, done.price_micro)
    stopped.terminate()
    assert await ended(stopped) == 0


async def test_a_long_job_with_a_short_lease_runs_once_while_its_worker_lives(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker looks for work all the time and must never get it."""
    passed_s, lease_s = 0.0, 60.0
    monkeypatch.setattr("app.orchestration.worker.loop_time", lambda: loop_time() + passed_s)

    async def lease_until(query: str) -> datetime:
        async with bench.database.begin(SERVICE) as uow:
            found: datetime = (await uow.execute(query)).scalar_one()
        return found

    async def let_a_third_pass() -> None:
        """For the database and for both workers, without the time that it takes."""
        nonlocal passed_s
        before = await lease_until(
            f"update app.job_queue set lease_until = lease_until - interval '{lease_s / 3} s'"
            " returning lease_until"
        )
        passed_s += lease_s / 3
        bench.wakeups.wake(CANCELS_TOPIC)

        async def is_renewed() -> bool:
            return await lease_until("select lease_until from app.job_queue") != before

        await until(is_renewed)

    reached = bench.tools.hold()
    job = await bench.submit(kind="tool", definition={"tool": "a.b", "arguments": {}})
    lease = {"lease_seconds": lease_s}
    async with bench.working(**lease), bench.working(**lease, poll_seconds=0.02):
        async with asyncio.timeout(20):
            await reached.wait()
        # Eight thirds are more than two leases.
        for _ in range(8):
            await let_a_third_pass()
        bench.tools.go()
        done = await bench.until_ended(job.job_id)
    assert (done.status, done.attempt, len(bench.tools.calls)) == ("Success", 1, 1)


async def test_two_recoverers_share_the_work_of_a_dead_worker(crew: Crew) -> None:
    """All they find is leased and expired; each job gets one new lease and one end."""
    bench = crew.bench
    intake = Intake(bench.jobs, bench.database)
    requests = [crew.request("crew.wait", idempotency_key=str(n)) for n in range(200)]
    for request in requests:
        crew.diary.note("submit", 0, key=request.idempotency_key)
    jobs = await intake.submit_many(requests)
    assert len(jobs) == len(requests)
    dead = crew.start(lease_seconds=LONG_LEASE_S, lane_capacity=100)
    await until(functools.partial(crew.has_begun, dead, 100))
    dead.kill()
    await ended(dead)
    await expire(bench.database)
    # Neither has room for all, and nothing ends before both have begun.
    both = [crew.start(lease_seconds=LONG_LEASE_S, lane_capacity=100) for _ in range(2)]
    for worker in both:
        await until(functools.partial(crew.has_begun, worker))
    crew.let_go()
    await until(crew.is_idle)
    rows = await crew.rows()
    assert judge(crew.diary.read(), rows) == []
    assert {row.status for row in rows} == {"Success"}
    assert max(row.attempt for row in rows) == 2


async def test_a_job_that_kills_its_workers_is_put_aside_and_takes_no_other_with_it(
    crew: Crew,
) -> None:
    """The poison is claimed in one batch with sound jobs, again and again."""
    bench = crew.bench
    requests = [crew.request("crew.poison", ms=50)]
    requests += [crew.request(ms=400) for _ in range(10)]
    results = await Intake(bench.jobs, bench.database).submit_many(requests)
    poison, *others = [one.job.job_id for one in results]  # type: ignore[union-attr]
    deaths = 0
    while not await crew.is_idle() and deaths < 3 * POISONED:
        worker = crew.start(max_attempts=POISONED, lease_seconds=60)

        async def is_decided(worker=worker) -> bool:  # type: ignore[no-untyped-def]
            return worker.exitcode is not None or await crew.is_idle()

        await until(is_decided)
        deaths += worker.exitcode == -signal.SIGKILL
        worker.terminate()
        await ended(worker)
        await expire(bench.database)
    dead = await bench.view(poison)
    assert (dead.status, dead.charged_micro) == ("Dead", 0)
    assert deaths == POISONED
    statuses = {(await bench.view(job_id)).status for job_id in others}
    assert statuses == {"Success"}
    rows = await crew.rows()
    assert [row.settlements for row in rows if UUID(row.job_id) == poison] == [[("released", 0)]]
    assert (await bench.wallet())[1:] == (0, to_micro("0.001") * len(others))
