"""Moments between two reads, made to happen."""

import asyncio
import contextlib
from collections.abc import Sequence
from uuid import UUID

import pytest

from app.billing import to_micro
from app.kernel.db import Database
from app.kernel.errors import AppError, Code
from app.kernel.principal import SERVICE
from app.kernel.uow import UnitOfWork
from app.kernel.wakeups import Wakeups
from app.orchestration import JobContext, JobEvent, Jobs, Lease, Outcome
from tests.faults.conftest import until
from tests.orchestration.conftest import Bench, bench

__all__ = ["bench"]
pytestmark = pytest.mark.anyio


class LateJobs(Jobs):
    """The job ends after a follower has read its trace and before it reads anything else."""

    to_end: Bench

    async def events(
        self, uow: UnitOfWork, job_id: UUID, after_seq: int = 0, limit: int = 500
    ) -> Sequence[JobEvent]:
        page = await super().events(uow, job_id, after_seq, limit)
        if not page and self.to_end is not None:
            async with self.to_end.database.begin(SERVICE) as other:
                job = await self.get(other, job_id)
                if not job.is_terminal:
                    await self.to_end.lifecycle.cancel(other, Lease(job, job.attempt, 0, False))
        return page


async def test_a_follower_gets_the_end_that_comes_while_it_looks(bench: Bench) -> None:
    jobs = LateJobs(bench.billing, bench.lifecycle, bench.database, bench.wakeups, 0.05)
    jobs.to_end = bench
    job = await bench.submit()
    async with asyncio.timeout(20):
        seen = [event.kind async for event in jobs.follow(bench.user, job.job_id)]
    assert seen == ["job.queued", "job.cancelled"]


async def test_a_worker_that_leases_its_own_lost_job_keeps_the_new_lease(bench: Bench) -> None:
    """After a pause the worker may find its own job free before it has renewed the lease."""
    started, go = [asyncio.Event() for _ in range(9)], [asyncio.Event() for _ in range(9)]

    async def run(ctx: JobContext) -> Outcome:
        started[ctx.job.attempt].set()
        await go[ctx.job.attempt].wait()
        return Outcome(True, {"attempt": ctx.job.attempt})

    bench.handler.run_once = run
    job = await bench.submit()
    async with bench.working(lease_seconds=9.0):
        await asyncio.wait_for(started[1].wait(), 20)
        async with asyncio.timeout(20):
            # The heartbeat may be quicker than the claim; then the lease is lost once more.
            while (await _lease(bench))[0] == 1:
                await _lose_lease(bench)
        await asyncio.wait_for(started[2].wait(), 20)
        go[1].set()
        ends = set()

        async def is_renewed_twice() -> bool:
            attempt, end = await _lease(bench)
            assert attempt == 2
            ends.add(end)
            return len(ends) >= 3

        await until(is_renewed_twice)
        go[2].set()
        done = await bench.until_ended(job.job_id)
    assert (done.status, done.final_output) == ("Success", {"attempt": 2})
    assert await bench.wallet() == (to_micro(8), 0, to_micro(2))


async def _lease(bench: Bench) -> tuple[int, float]:
    """The fencing token, and when the lease ends."""
    async with bench.database.begin(SERVICE) as uow:
        query = "select attempt, extract(epoch from lease_until) as until from app.job_queue"
        row = (await uow.execute(query)).one()
    return row.attempt, float(row.until)


async def _lose_lease(bench: Bench) -> None:
    """Let the lease run out, and wait until somebody has taken or renewed it."""
    async with bench.database.begin(SERVICE) as uow:
        await uow.execute("update app.job_queue set lease_until = now() - interval '1 s'")
    bench.wakeups.wake("jobs")

    async def is_leased() -> bool:
        async with bench.database.begin(SERVICE) as uow:
            query = "select lease_until > now() as is_leased from app.job_queue"
            return bool((await uow.execute(query)).scalar_one())

    await until(is_leased)


async def test_a_cancel_that_comes_with_a_failure_does_not_wait_for_the_next_try(
    bench: Bench,
) -> None:
    async def fail(ctx: JobContext) -> Outcome:
        async with bench.database.begin(SERVICE) as uow:
            await uow.execute("update app.job_queue set is_cancel_requested = true")
        raise AppError(Code.TOOL_SERVER_DOWN, "gone")

    bench.handler.run_once = fail
    job = await bench.submit()
    async with bench.working(backoff_seconds=3600, lease_seconds=1e6):
        done = await bench.until_ended(job.job_id)
    assert (done.status, done.charged_micro) == ("Cancelled", 0)


async def test_an_output_that_cannot_be_stored_ends_the_job_free(bench: Bench) -> None:
    async def answer(ctx: JobContext) -> Outcome:
        return Outcome(True, {"text": "\0"})

    bench.handler.run_once = answer
    job = await bench.submit()
    async with bench.working(lease_seconds=1e6):
        done = await bench.until_ended(job.job_id)
    assert (done.status, done.charged_micro) == ("Dead", 0)
    assert done.error is not None
    assert done.error["details"]["cause"]["code"] == "internal"


async def test_a_cancel_that_comes_with_a_wake_up_is_not_lost() -> None:
    wakeups, woken = Wakeups(None), 0

    async def work() -> None:
        nonlocal woken
        while True:
            woken += await wakeups.wait(wakeups.ticket("work"), 3600)

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    wakeups.wake("work")
    # The inner future is done now, and the task has not run yet.
    await asyncio.sleep(0)
    task.cancel()
    assert await asyncio.wait({task}, timeout=20) == ({task}, set())
    assert task.cancelled()


async def test_a_pool_without_a_free_connection_is_an_unavailable_hub(dsn: str) -> None:
    database = Database(dsn, pool_size=1, wait_s=0.05)
    try:
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(database.begin(SERVICE))
            with pytest.raises(AppError) as caught:
                await stack.enter_async_context(database.begin(SERVICE))
        assert caught.value.code is Code.HUB_UNAVAILABLE
        async with database.begin(SERVICE) as uow:
            assert (await uow.execute("select 1")).scalar_one() == 1
    finally:
        await database.close()
