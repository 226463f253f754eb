"""What every dispatcher must do: all jobs end once, soon, whoever tells the workers."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from app.kernel.errors import AppError, Code
from tests.dispatch.conftest import PRICE, Crew

pytestmark = pytest.mark.anyio


async def test_every_job_of_a_crowd_ends_once(crew: Crew) -> None:
    await crew.submit(200)
    async with crew.working(lane_capacity=40) as one, crew.working(lane_capacity=40) as other:
        await crew.submit(300)
        await crew.until_ended()
        async with asyncio.timeout(30):
            # A busy machine may make the broker late for a moment.
            while not one.state().is_up:
                await asyncio.sleep(0.02)
        assert one.state().name == crew.member
    assert min(one.told + one.left_open, other.told + other.left_open) > 0
    if crew.member == "redis":
        assert one.was_down or one.left_open == 0
        assert other.was_down or other.left_open == 0


async def test_an_idle_worker_is_woken(crew: Crew) -> None:
    async with crew.working():
        for _ in range(3):
            await crew.submit(1)
            await crew.until_ended()


async def test_a_worker_takes_no_more_than_it_has_room_for(crew: Crew) -> None:
    reached = crew.bench.tools.hold()
    async with crew.working(lane_capacity=5):
        await crew.submit(50)
        await reached.wait()
        async with crew.working(lane_capacity=5):
            async with asyncio.timeout(20):
                while len(crew.bench.tools.calls) < 10:
                    await asyncio.sleep(0.01)
            leased = "select count(*) from app.job_queue where lease_until is not null"
            assert await crew.rows(leased) == [(10,)]
            crew.bench.tools.go()
            await crew.until_ended()


async def test_what_a_stopping_worker_gives_back_goes_to_another(crew: Crew) -> None:
    reached = crew.bench.tools.hold()
    async with crew.working(lane_capacity=20):
        ids = await crew.submit(20)
        await reached.wait()
    assert await crew.left() == 20
    crew.bench.tools.calls.clear()
    crew.bench.tools.go()
    async with crew.working():
        async with asyncio.timeout(30):
            while await crew.left():
                await asyncio.sleep(0.02)
    assert {call.job_id for call in crew.bench.tools.calls} == set(ids)


async def test_a_later_job_waits_for_its_time_and_a_failed_one_for_its_turn(crew: Crew) -> None:
    crew.bench.tools.answer = AppError(Code.INTERNAL, "Not now.")
    async with crew.working(poll_seconds=0.1):
        (failed,) = await crew.submit(1)
        async with asyncio.timeout(20):
            while not crew.bench.tools.calls:
                await asyncio.sleep(0.01)
        crew.bench.tools.answer = {}
        due = datetime.now(UTC) + timedelta(seconds=0.3)
        (later,) = await crew.submit(1, run_at=due)
        async with asyncio.timeout(30):
            while await crew.left():
                await asyncio.sleep(0.02)
    ends = await crew.rows("select job_id, status, attempt > 1 from app.processing_jobs")
    assert sorted(ends) == sorted([(failed, "Success", True), (later, "Success", False)])
    assert crew.bench.tools.calls[-1].job_id in {failed, later}


async def test_a_claim_that_comes_to_nothing_is_made_again(
    crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database fails between the hint and the commit of the claim."""
    from app.orchestration import store

    claim, failures = store.claim, iter(range(3))

    async def failing(*args: object, **options: object) -> object:
        leases = await claim(*args, **options)  # type: ignore[arg-type]
        if leases and next(failures, None) is not None:
            raise AppError(Code.HUB_UNAVAILABLE, "Away.")
        return leases

    monkeypatch.setattr(store, "claim", failing)
    async with crew.working(poll_seconds=0.1):
        await crew.submit(30)
        async with asyncio.timeout(30):
            while await crew.left():
                await asyncio.sleep(0.02)
    assert next(failures, None) is None
    assert len(crew.bench.tools.calls) == 30


async def test_what_is_cancelled_on_its_way_ends_cancelled(crew: Crew) -> None:
    ids = await crew.submit(10)
    for job_id in ids[:5]:
        async with crew.bench.database.begin(crew.bench.user.elevated()) as uow:
            await crew.bench.jobs.cancel(uow, job_id)
    async with crew.working():
        await _ended(crew)
    ends = await crew.rows("select job_id, status from app.processing_jobs")
    assert dict(ends) == _states(ids[:5], "Cancelled") | _states(ids[5:], "Success")
    assert (await crew.bench.wallet())[2] == 5 * PRICE


async def _ended(crew: Crew) -> None:
    async with asyncio.timeout(30):
        while await crew.left():
            await asyncio.sleep(0.02)


def _states(ids: Sequence[UUID], state: str) -> dict[UUID, str]:
    return dict.fromkeys(ids, state)
