"""Runs in usage mode from the submit to the end, through the real worker."""

import asyncio
from typing import Any

import pytest

from app.billing import MICRO, UsageQuote, UsageRate, usage_quote
from app.kernel.errors import AppError, Code
from app.kernel.principal import SERVICE
from app.orchestration import JobContext, JobView, Outcome
from tests.orchestration.conftest import Bench

pytestmark = pytest.mark.anyio

CALL = 400_000
RATES = (
    UsageRate("tool", "*", "calls", 1, CALL, 1, 3),
    UsageRate("tool", "*", "bytes_out", 7, 2, 0, 3),
)
# The scripted tools answer with three bytes: 6/7 of a micro-credit a call.


def quote(max_micro: int | None = None) -> UsageQuote:
    return usage_quote("template", "t", 1, RATES, max_micro)


async def submit(bench: Bench, max_micro: int | None = None, **changes: Any) -> JobView:
    definition = {"n": 1, "billing": "usage"}
    return await bench.submit(definition=definition, price=quote(max_micro), **changes)


async def calls(ctx: JobContext, count: int) -> Outcome:
    for at in range(count):
        await ctx.call_tool("tools.say", {}, key=f"k{at}")
    return Outcome(True, {"calls": count})


def calling(bench: Bench, count: int) -> None:
    async def run(ctx: JobContext) -> Outcome:
        return await calls(ctx, count)

    bench.handler.run_once = run


async def topups(bench: Bench, job: JobView) -> int:
    async with bench.database.begin(bench.user) as uow:
        query = "select count(*) from app.job_hold where job_id = :job"
        return int((await uow.execute(query, {"job": job.job_id})).scalar_one())


async def ended(bench: Bench, job: JobView) -> JobView:
    async with bench.working():
        return await bench.until_ended(job.job_id)


async def test_a_run_pays_for_what_it_used_and_the_rest_comes_back(bench: Bench) -> None:
    calling(bench, 2)
    job = await submit(bench)
    assert (await bench.wallet())[1] == quote().high_micro == 3 * CALL + 1
    done = await ended(bench, job)
    assert (done.status, done.charged_micro) == ("Success", 2 * CALL + 2)
    assert await bench.wallet() == (10 * MICRO - 2 * CALL - 2, 0, 2 * CALL + 2)


async def test_the_trace_tells_the_running_sum(bench: Bench) -> None:
    calling(bench, 2)
    job = await submit(bench)
    await ended(bench, job)
    async with bench.database.begin(bench.user) as uow:
        lines = await bench.jobs.events(uow, job.job_id)
    told = [line.data for line in lines if line.kind == "tool.finished"]
    assert [one["used_micro"] for one in told] == [CALL + 1, 2 * CALL + 2]
    assert [one["held_micro"] for one in told] == [3 * CALL + 1] * 2


async def test_a_long_run_holds_more_and_is_charged_over_all_its_holds(bench: Bench) -> None:
    calling(bench, 12)
    job = await submit(bench, 9 * MICRO)
    done = await ended(bench, job)
    cost = 12 * CALL + 11  # 12 times 6/7, rounded up once
    assert (done.status, done.charged_micro) == ("Success", cost)
    assert await topups(bench, job) >= 2
    assert await bench.wallet() == (10 * MICRO - cost, 0, cost)


async def test_at_the_cap_the_next_step_is_refused_and_what_ran_is_charged(bench: Bench) -> None:
    calling(bench, 50)
    job = await submit(bench, 5 * CALL)
    done = await ended(bench, job)
    assert done.status == "Failed"
    assert done.error is not None
    assert done.error["code"] == Code.CREDITS_EXHAUSTED
    assert done.error["details"]["cap_micro"] == 5 * CALL
    # The price of an answer's bytes is known only afterwards, so the last fifth is left alone.
    assert len(bench.tools.calls) == 4
    assert done.charged_micro == 4 * CALL + 4
    assert await bench.wallet() == (10 * MICRO - 4 * CALL - 4, 0, 4 * CALL + 4)


async def test_an_empty_wallet_refuses_the_next_step(bench: Bench) -> None:
    # No worker here runs such jobs: its hold stays.
    beside = await bench.submit(
        kind="other", price=usage_quote("tool", "x", 1, [_flat(8 * MICRO)], 8 * MICRO)
    )
    calling(bench, 50)
    job = await submit(bench, 9 * MICRO)
    done = await ended(bench, job)
    assert done.status == "Failed"
    assert done.error is not None
    assert done.error["code"] == Code.CREDITS_EXHAUSTED
    assert done.error["details"]["held_micro"] == 2 * MICRO
    # Four fifths of two credits are four calls and no more.
    assert len(bench.tools.calls) == 4
    assert done.charged_micro == 4 * CALL + 4
    assert await bench.wallet() == (2 * MICRO - 4 * CALL - 4, 8 * MICRO, 4 * CALL + 4)
    async with bench.database.begin(bench.user.elevated()) as uow:
        await bench.jobs.cancel(uow, beside.job_id)


def _flat(price: int) -> UsageRate:
    return UsageRate("tool", "none", "calls", 1, price, 1, 1)


async def test_a_call_that_fails_costs_nothing(bench: Bench) -> None:
    bench.tools.answer = AppError(Code.GENE_NOT_FOUND, "no such gene")
    calling(bench, 1)
    done = await ended(bench, await submit(bench))
    assert (done.status, done.charged_micro) == ("Failed", 0)


async def test_a_run_that_fails_later_pays_for_what_answered(bench: Bench) -> None:
    async def run(ctx: JobContext) -> Outcome:
        await calls(ctx, 2)
        return Outcome(False, {}, AppError(Code.CHECK_FAILED, "no"))

    bench.handler.run_once = run
    done = await ended(bench, await submit(bench))
    assert (done.status, done.charged_micro) == ("Failed", 2 * CALL + 2)


async def test_a_cancelled_run_pays_for_what_it_used(bench: Bench) -> None:
    going = asyncio.Event()

    async def run(ctx: JobContext) -> Outcome:
        await calls(ctx, 5)
        going.set()
        await asyncio.Event().wait()
        raise AssertionError

    bench.handler.run_once = run
    job = await submit(bench, 9 * MICRO)
    async with bench.working():
        async with asyncio.timeout(30):
            await going.wait()
        async with bench.database.begin(bench.user.elevated()) as uow:
            await bench.jobs.cancel(uow, job.job_id)
        done = await bench.until_ended(job.job_id)
    assert (done.status, done.charged_micro) == ("Cancelled", 5 * CALL + 5)
    assert await topups(bench, job) > 0
    assert (await bench.wallet())[1] == 0


async def test_a_run_the_platform_gives_up_costs_nothing_with_all_its_holds(bench: Bench) -> None:
    async def run(ctx: JobContext) -> Outcome:
        await calls(ctx, 5)
        raise RuntimeError("a fault of the platform")

    bench.handler.run_once = run
    job = await submit(bench, 9 * MICRO)
    done = await ended(bench, job)
    assert (done.status, done.charged_micro) == ("Dead", 0)
    assert await topups(bench, job) > 0
    assert await bench.wallet() == (10 * MICRO, 0, 0)


async def test_a_worker_killed_between_usage_and_end_costs_nothing_twice(bench: Bench) -> None:
    reached, runs = asyncio.Event(), []

    async def run(ctx: JobContext) -> Outcome:
        runs.append(ctx.job.attempt)
        outcome = await calls(ctx, 6)
        if len(runs) == 1:
            reached.set()
            await asyncio.Event().wait()
        return outcome

    bench.handler.run_once = run
    # Nothing is left: the second run's steps are let through because they were paid by the first.
    job = await submit(bench, 7 * CALL)
    async with bench.working():
        async with asyncio.timeout(30):
            await reached.wait()
    done = await ended(bench, job)
    assert runs == [1, 2]
    assert (done.status, done.charged_micro) == ("Success", 6 * CALL + 6)
    assert len(bench.tools.calls) == 12


async def test_parallel_steps_are_not_promised_the_same_credits(bench: Bench) -> None:
    async def run(ctx: JobContext) -> Outcome:
        steps = [ctx.call_tool("tools.say", {}, key=f"k{at}") for at in range(8)]
        ended = await asyncio.gather(*steps, return_exceptions=True)
        refused = [one for one in ended if isinstance(one, AppError)]
        assert {one.code for one in refused} == {Code.CREDITS_EXHAUSTED}
        return Outcome(True, {"refused": len(refused)})

    bench.handler.run_once = run
    bench.tools.hold()
    job = await submit(bench, 3 * CALL + 10)
    async with bench.working():
        async with asyncio.timeout(30):
            await bench.tools.reached.wait()
        bench.tools.go()
        done = await bench.until_ended(job.job_id)
    assert done.status == "Success"
    assert done.charged_micro is not None
    assert done.charged_micro <= 3 * CALL + 10
    assert len(bench.tools.calls) == 8 - done.final_output["refused"] <= 3  # type: ignore[index]


async def test_a_job_of_another_mode_has_no_account(bench: Bench) -> None:
    """The word in a definition alone opens none: it is the quote that does."""
    calling(bench, 2)
    job = await bench.submit(definition={"n": 1, "billing": "usage"})
    done = await ended(bench, job)
    assert (done.status, done.charged_micro) == ("Success", 2 * MICRO)


async def test_new_rates_leave_a_running_job_its_own(bench: Bench) -> None:
    async with bench.database.begin(SERVICE) as uow:
        await bench.billing.publish_usage(uow, "template", "t", RATES)
        first = await bench.billing.quote_usage(uow, "template", "t")
        job = (
            await bench.jobs.submit(
                uow, bench.request(definition={"n": 1, "billing": "usage"}, price=first)
            )
        ).job
        await bench.billing.publish_usage(uow, "template", "t", [_flat(1)])
        second = await bench.billing.quote_usage(uow, "template", "t")
    assert (first.price_version, second.price_version) == (1, 2)
    calling(bench, 2)
    assert (await ended(bench, job)).charged_micro == 2 * CALL + 2


async def test_sixty_clients_at_once_never_overdraw_a_wallet(bench: Bench) -> None:
    """Runs and plain holds of one wallet at once: conserved, never negative, each settled once."""

    async def run(ctx: JobContext) -> Outcome:
        return await calls(ctx, 3)

    bench.handler.run_once = run

    refused: list[Code] = []

    async def client(at: int) -> JobView | None:
        try:
            if at % 3:
                return await submit(bench, 2 * MICRO)
            return await bench.submit()
        except AppError as error:
            refused.append(error.code)
            return None

    async with bench.working(worker_concurrency=6):
        jobs = [job for job in await asyncio.gather(*map(client, range(60))) if job is not None]
        done = [await bench.until_ended(job.job_id) for job in jobs]
    assert len(jobs) + len(refused) == 60
    assert set(refused) <= {Code.INSUFFICIENT_CREDITS}
    assert {one.status for one in done} <= {"Success", "Failed"}
    charged = sum(one.charged_micro or 0 for one in done)
    assert await bench.wallet() == (10 * MICRO - charged, 0, charged)
