"""The fast lane when the database goes away, when a lease is lost, when a result is unfit."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from app.billing import Quote, to_micro
from app.kernel.errors import AppError, Code
from app.kernel.principal import SERVICE, Principal
from app.kernel.uow import UnitOfWork
from app.orchestration import JobView, Worker, store
from app.orchestration.types import End
from tests.faults.conftest import LONG_LEASE_S, until
from tests.orchestration.conftest import Bench, ScriptedTools, bench

__all__ = ["bench"]
pytestmark = pytest.mark.anyio

PRICE = Quote("tool", "a.b", "outcome", to_micro("0.01"), 1)


async def submit(bench: Bench, tool: str = "a.b") -> JobView:
    definition = {"tool": tool, "arguments": {}}
    return await bench.submit(kind="tool", definition=definition, price=PRICE)


@asynccontextmanager
async def working(bench: Bench, worker: Worker) -> AsyncIterator[None]:
    task = asyncio.create_task(worker.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class Gate:
    """The database, which a test can close."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.is_open = True
        self.refused = 0

    @asynccontextmanager
    async def begin(self, principal: Principal) -> AsyncIterator[UnitOfWork]:
        if not self.is_open:
            self.refused += 1
            raise AppError(Code.HUB_UNAVAILABLE, "The database is away.")
        async with self._bench.database.begin(principal) as uow:
            yield uow


async def test_a_call_that_fails_while_the_database_is_away_is_tried_again(bench: Bench) -> None:
    gate = Gate(bench)
    worker = bench.new_worker(lease_seconds=0.6, max_attempts=1000)
    worker._transactions = worker._lanes[0]._transactions = gate
    reached = bench.tools.hold()
    bench.tools.answer = AppError(Code.TOOL_SERVER_DOWN, "gone")
    job = await submit(bench)
    async with working(bench, worker):
        await asyncio.wait_for(reached.wait(), 20)
        gate.is_open = False
        bench.tools.go()

        async def is_refused() -> bool:
            return gate.refused > 2 and not worker._lanes[0].held()

        await until(is_refused)
        bench.tools.answer = {"y": 1}
        gate.is_open = True
        done = await bench.until_ended(job.job_id)
    assert (done.status, done.final_output) == ("Success", {"y": 1})
    assert await bench.wallet() == (to_micro("9.99"), 0, to_micro("0.01"))


async def test_a_lane_that_leases_its_own_lost_job_keeps_the_new_lease(bench: Bench) -> None:
    worker = bench.new_worker(lease_seconds=1e6)
    reached = bench.tools.hold()
    bench.tools.answer = {"y": 1}
    job = await submit(bench)
    async with working(bench, worker):
        await asyncio.wait_for(reached.wait(), 20)
        first = bench.tools.detach({"y": 0})
        second = bench.tools.hold()
        async with bench.database.begin(SERVICE) as uow:
            await uow.execute("update app.job_queue set lease_until = now() - interval '1 s'")
        bench.wakeups.wake("jobs")
        await asyncio.wait_for(second.wait(), 20)
        first.set()
        await _settled(worker)
        bench.tools.late = None
        assert worker._lanes[0].held() == {job.job_id: 2}
        bench.tools.go()
        done = await bench.until_ended(job.job_id)
    assert (done.status, done.final_output, done.attempt) == ("Success", {"y": 1}, 2)
    assert await bench.wallet() == (to_micro("9.99"), 0, to_micro("0.01"))


async def _settled(worker: Worker) -> None:
    """Wait until the lane has only the calls it knows of."""

    async def is_settled() -> bool:
        names = [task for task in asyncio.all_tasks() if "FastLane._call" in str(task.get_coro())]
        return len(names) == len(worker._lanes[0].held())

    await until(is_settled)


class MixedTools(ScriptedTools):
    """One tool whose answer no database takes, among tools that are sound."""

    async def call(self, call):  # type: ignore[no-untyped-def]
        self.answer = {"text": "\0"} if call.name == "a.bad" else {"y": 1}
        return await super().call(call)


async def test_an_answer_that_cannot_be_stored_fails_its_own_job_only(bench: Bench) -> None:
    bench.tools = MixedTools()
    jobs: dict[UUID, str] = {}
    for tool in ("a.b", "a.bad", "a.b", "a.bad", "a.b"):
        jobs[(await submit(bench, tool)).job_id] = tool
    async with bench.working(lease_seconds=LONG_LEASE_S):
        for job_id, tool in jobs.items():
            done = await bench.until_ended(job_id)
            if tool == "a.bad":
                assert done.status == "Failed"
                assert done.error is not None
                assert done.error["code"] == "tool_protocol_error"
            else:
                assert (done.status, done.final_output) == ("Success", {"y": 1})
    assert len(bench.tools.calls) == len(jobs)
    assert await bench.wallet() == (to_micro("9.97"), 0, to_micro("0.03"))


@pytest.mark.parametrize("first", ["Success", "Failed"])
async def test_a_stale_end_in_the_batch_of_the_real_one_moves_no_credits(
    bench: Bench, first: str
) -> None:
    """A lane that leased its own lost job again may write both ends in one transaction."""
    job = await submit(bench)
    async with bench.database.begin(SERVICE) as uow:
        (stale,) = await store.claim(uow, "tool", 1, 60, "w")
        await uow.execute("update app.job_queue set lease_until = now() - interval '1 s'")
    async with bench.database.begin(SERVICE) as uow:
        (lease,) = await store.claim(uow, "tool", 1, 60, "w")
        last = "Failed" if first == "Success" else "Success"
        ends = [End(stale, first), End(lease, last)]
        assert await bench.lifecycle.finish_many(uow, ends) == {job.job_id}
    done = await bench.view(job.job_id)
    price = PRICE.amount_micro if last == "Success" else 0
    assert (done.status, done.attempt, done.charged_micro) == (last, 2, price)
    assert await bench.wallet() == (to_micro(10) - price, 0, price)
