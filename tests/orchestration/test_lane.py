"""Single-tool jobs: gathered submits, batched ends, each with its own credits and verdict."""

import asyncio

import pytest

from app.billing import Quote, to_micro
from app.kernel.errors import AppError, Code
from app.kernel.ids import new_id
from app.orchestration import Intake, JobRequest, Submitted
from tests.orchestration.conftest import Bench

pytestmark = pytest.mark.anyio

PRICE = Quote("tool", "a.b", "outcome", to_micro("0.01"), 1)


def call(bench: Bench, **changes: object) -> JobRequest:
    values = {"kind": "tool", "definition": {"tool": "a.b", "arguments": {"x": 1}}, "price": PRICE}
    return bench.request(**(values | changes))


@pytest.fixture
def intake(bench: Bench) -> Intake:
    return Intake(bench.jobs, bench.database)


async def test_a_call_is_a_job_that_ends_with_the_tools_answer(
    bench: Bench, intake: Intake
) -> None:
    bench.tools.answer = {"y": 2}
    job = (await intake.submit(call(bench))).job
    async with bench.working():
        done = await bench.until_ended(job.job_id)
    assert (done.status, done.final_output, done.attempt) == ("Success", {"y": 2}, 1)
    assert await bench.kinds(job.job_id) == ["job.queued", "job.succeeded"]
    assert await bench.wallet() == (to_micro("9.99"), 0, to_micro("0.01"))
    assert bench.tools.calls[0].idempotency_key == str(job.job_id)
    async with bench.database.begin(bench.user) as uow:
        used = (await uow.execute("select hold_id, usage from app.settlement")).all()
    usage = {"kind": "tool", "subject": "a.b", "wall_ms": 1, "bytes_in": 2, "bytes_out": 3}
    assert [tuple(row) for row in used] == [(job.job_id, usage)]


async def test_submits_at_the_same_time_share_transactions_and_all_end_once(
    bench: Bench, intake: Intake
) -> None:
    made = await asyncio.gather(*(intake.submit(call(bench)) for _ in range(300)))
    assert len({one.job.job_id for one in made}) == 300
    async with bench.working(lane_capacity=100), bench.working(lane_capacity=100):
        for one in made:
            assert (await bench.until_ended(one.job.job_id)).status == "Success"
    assert len(bench.tools.calls) == 300
    assert await bench.wallet() == (to_micro(7), 0, to_micro(3))


async def test_in_a_batch_a_refused_hold_refuses_only_its_own_job(
    bench: Bench, intake: Intake
) -> None:
    dear = Quote("tool", "a.b", "outcome", to_micro(6), 1)
    results = await intake.submit_many(
        [
            call(bench, price=dear),
            call(bench, price=dear),
            call(bench),
            call(bench, user_id=new_id()),
        ]
    )
    codes = [one.code if isinstance(one, AppError) else None for one in results]
    assert codes == [None, Code.INSUFFICIENT_CREDITS, None, Code.INSUFFICIENT_CREDITS]
    async with bench.database.begin(bench.user) as uow:
        assert len(await bench.jobs.list(uow, bench.user.owner)) == 2


async def test_one_key_in_one_batch_is_one_job_and_another_body_a_mismatch(
    bench: Bench, intake: Intake
) -> None:
    other = {"tool": "a.b", "arguments": {"x": 2}}
    results = await intake.submit_many(
        [
            call(bench, idempotency_key="k"),
            call(bench, idempotency_key="k"),
            call(bench, idempotency_key="k", definition=other),
        ]
    )
    first, second, third = results
    assert isinstance(first, Submitted)
    assert isinstance(second, Submitted)
    assert (first.is_new, second.is_new) == (True, False)
    assert first.job.job_id == second.job.job_id
    assert isinstance(third, AppError)
    assert third.code is Code.IDEMPOTENCY_MISMATCH
    assert (await bench.wallet())[1] == to_micro("0.01")


async def test_a_key_taken_by_another_process_at_the_same_time_is_still_one_job(
    bench: Bench, intake: Intake
) -> None:
    other = Intake(bench.jobs, bench.database)
    made = await asyncio.gather(
        *(
            one.submit(call(bench, idempotency_key=f"k{n}"))
            for n in range(40)
            for one in (intake, other)
        )
    )
    assert len({one.job.job_id for one in made}) == 40
    assert (await bench.wallet())[1] == to_micro("0.4")


async def test_the_tools_refusal_fails_the_job_and_is_free(bench: Bench, intake: Intake) -> None:
    bench.tools.answer = AppError(Code.GENE_NOT_FOUND, "no such gene")
    job = (await intake.submit(call(bench))).job
    async with bench.working():
        done = await bench.until_ended(job.job_id)
    assert done.status == "Failed"
    assert done.error is not None
    assert done.error["code"] == "gene_not_found"
    assert await bench.wallet() == (to_micro(10), 0, 0)


async def test_a_server_that_stays_down_puts_the_job_aside(bench: Bench, intake: Intake) -> None:
    bench.tools.answer = AppError(Code.TOOL_SERVER_DOWN, "gone")
    job = (await intake.submit(call(bench))).job
    async with bench.working():
        done = await bench.until_ended(job.job_id)
    assert (done.status, len(bench.tools.calls)) == ("Dead", 3)
    assert (await bench.kinds(job.job_id)).count("job.retrying") == 2
    assert await bench.wallet() == (to_micro(10), 0, 0)


async def test_a_waiting_call_is_cancelled_at_once_and_never_made(
    bench: Bench, intake: Intake
) -> None:
    job = (await intake.submit(call(bench))).job
    async with bench.database.begin(bench.user.elevated()) as uow:
        assert (await bench.jobs.cancel(uow, job.job_id)).status == "Cancelled"
    async with bench.working():
        later = (await intake.submit(call(bench))).job
        await bench.until_ended(later.job_id)
    assert len(bench.tools.calls) == 1


async def test_calls_that_were_running_when_a_worker_stopped_are_made_by_the_next(
    bench: Bench, intake: Intake
) -> None:
    reached = bench.tools.hold()
    job = (await intake.submit(call(bench))).job
    async with bench.working():
        async with asyncio.timeout(30):
            await reached.wait()
        assert (await bench.view(job.job_id)).status == "Running"
    bench.tools.go()
    async with bench.working():
        done = await bench.until_ended(job.job_id)
    assert (done.status, done.attempt) == ("Success", 2)
    assert await bench.wallet() == (to_micro("9.99"), 0, to_micro("0.01"))


async def test_a_late_answer_from_a_lost_lease_changes_nothing(
    bench: Bench, intake: Intake
) -> None:
    reached = bench.tools.hold()
    job = (await intake.submit(call(bench))).job
    # It is full: what it lost is for the other one.
    async with bench.working(lease_seconds=1e6, lane_capacity=1):
        async with asyncio.timeout(30):
            await reached.wait()
        async with bench.database.begin(bench.user.elevated()) as uow:
            await uow.execute("update app.job_queue set lease_until = now() - interval '1 s'")
        first = bench.tools.detach({"by": "first"})
        bench.tools.answer = {"by": "second"}
        async with bench.working():
            done = await bench.until_ended(job.job_id)
        first.set()
        later = (await intake.submit(call(bench))).job
        await bench.until_ended(later.job_id)
    assert done.final_output == {"by": "second"}
    assert (await bench.view(job.job_id)).final_output == {"by": "second"}
    assert await bench.wallet() == (to_micro("9.98"), 0, to_micro("0.02"))


async def test_a_request_that_cannot_be_written_fails_alone(bench: Bench, intake: Intake) -> None:
    broken = {"tool": "a.b", "arguments": {"x": "\x00"}}
    made = await asyncio.gather(
        intake.submit(call(bench)),
        intake.submit(call(bench, definition=broken)),
        intake.submit(call(bench)),
        return_exceptions=True,
    )
    assert [isinstance(one, Submitted) for one in made] == [True, False, True]
    assert (await bench.wallet())[1] == to_micro("0.02")


async def test_a_call_that_comes_too_early_is_put_off_and_has_not_failed(
    bench: Bench, intake: Intake
) -> None:
    bench.tools.answer = AppError(Code.RATE_LIMITED, "too many", details={"retry_after_s": 0.01})
    job = (await intake.submit(call(bench))).job
    async with bench.working(poll_seconds=0.02):
        async with asyncio.timeout(30):
            while len(bench.tools.calls) < 6:
                await asyncio.sleep(0.01)
        bench.tools.answer = {}
        done = await bench.until_ended(job.job_id)
    assert done.status == "Success"
    assert await bench.wallet() == (to_micro("9.99"), 0, to_micro("0.01"))
