"""Submitting, finishing, retrying, cancelling: each with its credits."""

import asyncio

import pytest

from app.billing import to_micro
from app.kernel.errors import AppError, Code
from app.kernel.ids import new_id
from app.kernel.principal import Principal
from app.orchestration import Artifact, JobContext, Outcome
from tests.orchestration.conftest import Bench

pytestmark = pytest.mark.anyio


async def test_a_success_is_charged_and_leaves_its_trace(bench: Bench) -> None:
    job = await bench.submit()
    assert job.status == "Queued"
    assert await bench.wallet() == (to_micro(8), to_micro(2), 0)
    async with bench.working():
        done = await bench.until_ended(job.job_id)
    assert (done.status, done.charged_micro, done.final_output) == (
        "Success",
        to_micro(2),
        {"answer": 42},
    )
    assert done.end_time is not None
    assert await bench.kinds(job.job_id) == ["job.queued", "job.started", "job.succeeded"]
    assert await bench.wallet() == (to_micro(8), 0, to_micro(2))


async def test_a_refused_result_is_failed_and_free(bench: Bench) -> None:
    async def refuse(_ctx: JobContext) -> Outcome:
        return Outcome(False, {}, AppError(Code.CHECK_FAILED, "no"))

    bench.handler.run_once = refuse
    job = await bench.submit()
    async with bench.working():
        done = await bench.until_ended(job.job_id)
    assert (done.status, done.charged_micro) == ("Failed", 0)
    assert done.error is not None
    assert done.error["code"] == "check_failed"
    assert await bench.wallet() == (to_micro(10), 0, 0)


async def test_bad_input_found_while_running_is_not_tried_again(bench: Bench) -> None:
    async def refuse(_ctx: JobContext) -> Outcome:
        raise AppError(Code.GENE_NOT_FOUND, "no such gene")

    bench.handler.run_once = refuse
    job = await bench.submit()
    async with bench.working():
        done = await bench.until_ended(job.job_id)
    assert done.status == "Failed"
    assert await bench.kinds(job.job_id) == ["job.queued", "job.started", "job.failed"]


async def test_a_fault_is_tried_again_and_then_succeeds(bench: Bench) -> None:
    attempts = []

    async def stumble(ctx: JobContext) -> Outcome:
        attempts.append(ctx.job.attempt)
        if len(attempts) < 3:
            raise RuntimeError("a fault")
        return Outcome(True, {})

    bench.handler.run_once = stumble
    job = await bench.submit()
    async with bench.working():
        done = await bench.until_ended(job.job_id)
    assert done.status == "Success"
    assert attempts == [1, 2, 3]
    assert (await bench.kinds(job.job_id)).count("job.retrying") == 2
    assert await bench.wallet() == (to_micro(8), 0, to_micro(2))


async def test_a_job_that_always_fails_is_put_aside_dead_and_free(bench: Bench) -> None:
    async def fail(_ctx: JobContext) -> Outcome:
        raise AppError(Code.TOOL_SERVER_DOWN, "gone")

    bench.handler.run_once = fail
    job = await bench.submit()
    async with bench.working():
        done = await bench.until_ended(job.job_id)
    assert done.status == "Dead"
    assert done.error is not None
    assert done.error["code"] == "attempts_exhausted"
    assert done.error["details"]["cause"]["code"] == "tool_server_down"
    assert await bench.wallet() == (to_micro(10), 0, 0)


async def test_without_credits_there_is_no_job(bench: Bench) -> None:
    for _ in range(5):
        await bench.submit()
    with pytest.raises(AppError) as caught:
        await bench.submit()
    assert caught.value.code is Code.INSUFFICIENT_CREDITS
    async with bench.database.begin(bench.user) as uow:
        assert len(await bench.jobs.list(uow, bench.user.owner)) == 5


async def test_one_idempotency_key_is_one_job(bench: Bench) -> None:
    first, second = await asyncio.gather(
        bench.submit(idempotency_key="k"), bench.submit(idempotency_key="k")
    )
    assert first.job_id == second.job_id
    assert await bench.wallet() == (to_micro(8), to_micro(2), 0)


async def test_an_idempotency_key_with_another_request_is_refused(bench: Bench) -> None:
    await bench.submit(idempotency_key="k")
    with pytest.raises(AppError) as caught:
        await bench.submit(idempotency_key="k", definition={"n": 2})
    assert caught.value.code is Code.IDEMPOTENCY_MISMATCH


async def test_a_waiting_job_is_cancelled_at_once(bench: Bench) -> None:
    job = await bench.submit()
    async with bench.database.begin(bench.user.elevated()) as uow:
        assert (await bench.jobs.cancel(uow, job.job_id)).status == "Cancelled"
    assert await bench.wallet() == (to_micro(10), 0, 0)
    with pytest.raises(AppError) as caught:
        async with bench.database.begin(bench.user.elevated()) as uow:
            await bench.jobs.cancel(uow, job.job_id)
    assert caught.value.code is Code.JOB_FINISHED


async def test_a_running_job_is_cancelled_and_free(bench: Bench) -> None:
    running = asyncio.Event()

    async def hang(_ctx: JobContext) -> Outcome:
        running.set()
        await asyncio.Event().wait()
        raise AssertionError

    bench.handler.run_once = hang
    job = await bench.submit()
    async with bench.working():
        async with asyncio.timeout(30):
            await running.wait()
        assert (await bench.view(job.job_id)).status == "Running"
        async with bench.database.begin(bench.user.elevated()) as uow:
            await bench.jobs.cancel(uow, job.job_id)
        done = await bench.until_ended(job.job_id)
    assert (done.status, done.charged_micro) == ("Cancelled", 0)


async def test_a_worker_that_stops_gives_its_job_to_the_next_at_once(bench: Bench) -> None:
    running = asyncio.Event()

    async def hang(_ctx: JobContext) -> Outcome:
        running.set()
        await asyncio.Event().wait()
        raise AssertionError

    async def succeed(_ctx: JobContext) -> Outcome:
        return Outcome(True, {})

    bench.handler.run_once = hang
    job = await bench.submit()
    async with bench.working():
        async with asyncio.timeout(30):
            await running.wait()
    assert (await bench.view(job.job_id)).status == "Retrying"
    bench.handler.run_once = succeed
    async with bench.working():
        done = await bench.until_ended(job.job_id)
    assert (done.status, done.charged_micro) == ("Success", to_micro(2))


async def test_a_worker_that_lost_its_lease_can_neither_write_nor_finish(bench: Bench) -> None:
    job, stalled, resume = await bench.submit(), asyncio.Event(), asyncio.Event()
    refused: list[Code] = []

    async def stall(ctx: JobContext) -> Outcome:
        if ctx.job.attempt > 1:
            return Outcome(True, {"by": "second"})
        stalled.set()
        await resume.wait()
        try:
            await ctx.emit("progress", {"message": "too late"})
        except AppError as error:
            refused.append(error.code)
        return Outcome(True, {"by": "first"})

    bench.handler.run_once = stall
    # It is full: what it lost is for the other one.
    async with bench.working(lease_seconds=1e6, worker_concurrency=1):
        async with asyncio.timeout(30):
            await stalled.wait()
        async with bench.database.begin(bench.user.elevated()) as uow:
            await uow.execute("update app.job_queue set lease_until = now() - interval '1 s'")
        async with bench.working():
            done = await bench.until_ended(job.job_id)
        resume.set()
        async with asyncio.timeout(30):
            while not refused:
                await asyncio.sleep(0)
    assert refused == [Code.LEASE_LOST]
    after = await bench.view(job.job_id)
    assert after.final_output == done.final_output == {"by": "second"}
    assert await bench.wallet() == (to_micro(8), 0, to_micro(2))


async def test_a_poison_job_that_kills_its_workers_is_put_aside(bench: Bench) -> None:
    job = await bench.submit()
    async with bench.database.begin(bench.user.elevated()) as uow:
        await uow.execute(
            "update app.job_queue set attempt = 3, failures = 2,"
            " lease_until = now() - interval '1 s'"
        )
    async with bench.working():
        done = await bench.until_ended(job.job_id)
    assert done.status == "Dead"
    assert await bench.wallet() == (to_micro(10), 0, 0)


async def test_a_tool_call_is_metered_once_and_traced(bench: Bench) -> None:
    bench.tools.answer = {"x": 1}

    async def call_twice(ctx: JobContext) -> Outcome:
        for _ in range(2):
            assert await ctx.call_tool("a.b", {"y": 2}, key="k1") == {"x": 1}
        return Outcome(True, {})

    bench.handler.run_once = call_twice
    job = await bench.submit()
    async with bench.working():
        await bench.until_ended(job.job_id)
    async with bench.database.begin(bench.user) as uow:
        rows = (await uow.execute("select subject, key from app.usage_event")).all()
    assert [tuple(row) for row in rows] == [("a.b", "k1")]
    assert bench.tools.calls[0].idempotency_key == f"{job.job_id}:k1"
    assert "tool.finished" in await bench.kinds(job.job_id)


async def test_a_tools_refusal_ends_the_job_with_the_tools_code(bench: Bench) -> None:
    bench.tools.answer = AppError(Code.PROTEIN_NOT_DNA, "that is protein")

    async def call(ctx: JobContext) -> Outcome:
        await ctx.call_tool("a.b", {}, key="k")
        raise AssertionError

    bench.handler.run_once = call
    job = await bench.submit()
    async with bench.working():
        done = await bench.until_ended(job.job_id)
    assert done.error is not None
    assert done.error["code"] == "protein_not_dna"
    assert "tool.failed" in await bench.kinds(job.job_id)


async def test_once_drops_the_repeat_of_a_line(bench: Bench) -> None:
    async def emit(ctx: JobContext) -> Outcome:
        for _ in range(2):
            await ctx.emit("progress", {"message": "x"}, once="only")
        return Outcome(True, {})

    bench.handler.run_once = emit
    job = await bench.submit()
    async with bench.working():
        await bench.until_ended(job.job_id)
    assert (await bench.kinds(job.job_id)).count("progress") == 1


async def test_artifacts_appear_with_the_end_of_the_job_and_once(bench: Bench) -> None:
    blob = await bench.storage.put_bytes(b"report")

    async def leave(ctx: JobContext) -> Outcome:
        if ctx.job.attempt == 1:
            raise RuntimeError("after the file was written")
        return Outcome(True, {}, files=[Artifact(blob, "report.md", "text/markdown")])

    bench.handler.run_once = leave
    job = await bench.submit()
    async with bench.working():
        await bench.until_ended(job.job_id)
    async with bench.database.begin(bench.user) as uow:
        assert [file.name for file in await bench.storage.list(uow, job.job_id)] == ["report.md"]


async def test_the_trace_is_numbered_without_gaps_and_pages(bench: Bench) -> None:
    async def talk(ctx: JobContext) -> Outcome:
        for number in range(7):
            await ctx.emit("progress", {"done": number})
        return Outcome(True, {})

    bench.handler.run_once = talk
    job = await bench.submit()
    async with bench.working():
        seen = [event.seq async for event in bench.jobs.follow(bench.user, job.job_id)]
    assert seen == list(range(1, 11))
    async with bench.database.begin(bench.user) as uow:
        page = await bench.jobs.events(uow, job.job_id, after_seq=4, limit=3)
    assert [event.seq for event in page] == [5, 6, 7]


async def test_another_user_sees_and_cancels_nothing(bench: Bench) -> None:
    job = await bench.submit()
    stranger = Principal("user", new_id(), scopes=frozenset({"jobs"}))
    for principal in (stranger, stranger.elevated()):
        with pytest.raises(AppError) as caught:
            async with bench.database.begin(principal) as uow:
                await bench.jobs.cancel(uow, job.job_id)
        assert caught.value.code is Code.NOT_FOUND
    async with bench.database.begin(stranger) as uow:
        assert list(await bench.jobs.list(uow, stranger.owner)) == []


async def test_many_jobs_and_workers_end_each_job_once(bench: Bench) -> None:
    ran: list[object] = []

    async def count(ctx: JobContext) -> Outcome:
        ran.append(ctx.job.job_id)
        return Outcome(True, {})

    bench.handler.run_once = count
    price = bench.request().price.__class__("template", "t", "outcome", to_micro("0.1"), 1)
    jobs = [await bench.submit(price=price) for _ in range(30)]
    async with bench.working(), bench.working():
        for job in jobs:
            assert (await bench.until_ended(job.job_id)).status == "Success"
    assert len(ran) == len(set(ran)) == 30
