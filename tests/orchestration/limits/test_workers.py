"""Limited jobs through the real submit, queue, worker and ledger: every end frees the slot."""

import asyncio
from typing import Any

import pytest

from app.kernel.errors import AppError, Code
from app.kernel.principal import SERVICE
from app.orchestration import JobContext, Outcome
from app.orchestration import store as jobs_store
from tests.orchestration.conftest import Bench

pytestmark = pytest.mark.anyio


def key(bench: Bench) -> str:
    return f"key:{bench.user.owner}:k"


async def rows(bench: Bench, sql: str, **values: Any) -> list[Any]:
    async with bench.database.begin(SERVICE) as uow:
        return list((await uow.execute(sql, values)).all())


async def _fail(_ctx: JobContext) -> Outcome:
    return Outcome(False, {}, AppError(Code.CHECK_FAILED, "No."))


async def _break(_ctx: JobContext) -> Outcome:
    raise AppError(Code.TOOL_SERVER_DOWN, "Away.")


@pytest.mark.parametrize(("run", "end"), [(None, "Success"), (_fail, "Failed"), (_break, "Dead")])
async def test_each_end_lets_the_next_one_in(bench: Bench, run: Any, end: str) -> None:
    if run is not None:
        bench.handler.run_once = run
    jobs = [await bench.submit(limit_names=(key(bench),)) for _ in range(3)]
    async with bench.working():
        assert [(await bench.until_ended(job.job_id)).status for job in jobs] == [end] * 3
    assert await rows(bench, "select 1 from app.job_slot") == []


async def test_one_at_a_time_runs_at_one_time(bench: Bench) -> None:
    running, most, order = 0, 0, []

    async def run(ctx: JobContext) -> Outcome:
        nonlocal running, most
        running += 1
        order.append(ctx.job.job_id)
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1
        return Outcome(True, {})

    bench.handler.run_once = run
    jobs = [await bench.submit(limit_names=(key(bench),)) for _ in range(4)]
    async with bench.working():
        for job in jobs:
            await bench.until_ended(job.job_id)
    assert most == 1
    assert order == [job.job_id for job in jobs]


async def test_a_waiting_and_a_running_job_are_cancelled(bench: Bench) -> None:
    began = asyncio.Event()

    async def hang(_ctx: JobContext) -> Outcome:
        began.set()
        await asyncio.Event().wait()
        raise AssertionError

    bench.handler.run_once = hang
    first, second, third = [await bench.submit(limit_names=(key(bench),)) for _ in range(3)]
    async with bench.working():
        async with asyncio.timeout(30):
            await began.wait()
        async with bench.database.begin(bench.user.elevated()) as uow:
            assert (await bench.jobs.cancel(uow, second.job_id)).status == "Cancelled"
        began.clear()
        async with bench.database.begin(bench.user.elevated()) as uow:
            await bench.jobs.cancel(uow, first.job_id)
        assert (await bench.until_ended(first.job_id)).status == "Cancelled"
        async with asyncio.timeout(30):
            await began.wait()
    (left,) = await rows(bench, "select job_id, is_held from app.job_slot")
    assert (left.job_id, left.is_held) == (third.job_id, True)
    async with bench.database.begin(bench.user.elevated()) as uow:
        await bench.jobs.cancel(uow, third.job_id)


async def test_a_killed_workers_job_keeps_its_slot_until_it_is_taken_over(bench: Bench) -> None:
    first, second = [await bench.submit(limit_names=(key(bench),)) for _ in range(2)]
    async with bench.database.begin(SERVICE) as uow:
        await jobs_store.stage(uow, 10)
    async with bench.database.begin(SERVICE) as uow:
        leases = await jobs_store.claim(uow, "task", 10, 60, "killed")
    assert [lease.job_id for lease in leases] == [first.job_id]
    await rows(
        bench,
        "update app.job_queue set lease_until = now() - interval '1 second'"
        " where job_id = :j returning 1",
        j=first.job_id,
    )
    (slot,) = await rows(bench, "select job_id from app.job_slot where is_held")
    assert slot.job_id == first.job_id
    async with bench.working():
        assert (await bench.until_ended(second.job_id)).status == "Success"
    assert (await bench.view(first.job_id)).status == "Success"


async def test_a_refused_hold_takes_no_slot(bench: Bench) -> None:
    for _ in range(5):
        await bench.submit(limit_names=(key(bench),))
    with pytest.raises(AppError):
        await bench.submit(limit_names=(key(bench),))
    (limit,) = await rows(bench, "select in_use from app.job_limit")
    (count,) = await rows(bench, "select count(*) as slots from app.job_slot")
    assert (limit.in_use, count.slots) == (1, 5)
