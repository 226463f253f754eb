"""Each moment of a schedule fires exactly once, whoever looks and wherever it stops."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from app.kernel.errors import AppError, Code
from app.orchestration.operations import Scheduler
from tests.orchestration.operations.conftest import HOUR, PRICE, Desk, PowerCut

pytestmark = pytest.mark.anyio


async def test_a_moment_that_has_come_is_a_job(desk: Desk) -> None:
    schedule = await desk.make(priority=1, job={"n": 7})
    assert await desk.scheduler.run_once() == 0
    at = await desk.late(schedule, 1)
    assert await desk.scheduler.run_once() == 1
    assert await desk.scheduler.run_once() == 0
    found = await desk.get(schedule)
    assert found.next_at is not None
    assert found.next_at > desk.newest
    assert found.last_job_id is not None
    job = await desk.bench.view(found.last_job_id)
    assert (job.status, job.definition) == ("Queued", {"n": 7})
    ((priority,),) = await desk.sql("select priority from app.job_queue")
    assert priority == 1
    newest, *older = await desk.moments(schedule)
    assert (newest.outcome, newest.job_id) == ("Submitted", found.last_job_id)
    # The one before it was missed, and is named.
    assert [(one.moment, one.outcome) for one in older] == [(at, "Skipped")]


@pytest.mark.parametrize(
    ("catch_up", "limit", "most"), [("skip", 5, 1), ("one", 5, 1), ("all", 5, 5), ("all", 99, 99)]
)
async def test_missed_moments(desk: Desk, catch_up: Any, limit: int, most: int) -> None:
    schedule = await desk.make(catch_up=catch_up, catch_up_limit=limit)
    at = await desk.late(schedule, 20)
    await desk.scheduler.run_once()
    done = [one for one in await desk.moments(schedule) if one.outcome == "Submitted"]
    missed = (done[0].moment - at) // HOUR
    assert len(done) == await desk.jobs() == min(most, missed + 1)
    assert done[0].moment == desk.newest


async def test_skip_fires_nothing_that_is_late(desk: Desk) -> None:
    moment = desk.newest - timedelta(days=1)
    yearly = f"{moment.minute} {moment.hour} {moment.day} {moment.month} *"
    schedule = await desk.make(yearly, catch_up="skip")
    await desk.due(schedule, moment)
    assert await desk.scheduler.run_once() == 1
    (skipped,) = await desk.moments(schedule)
    assert (skipped.moment, skipped.outcome) == (moment, "Skipped")
    assert await desk.jobs() == 0
    assert (await desk.get(schedule)).last_error is None


async def test_two_schedulers_fire_a_moment_once(desk: Desk) -> None:
    made = [await desk.make(name=f"s{n}") for n in range(5)]
    for schedule in made:
        await desk.late(schedule, 0)
    gate, arrived = asyncio.Event(), asyncio.Semaphore(0)

    async def meet() -> None:
        arrived.release()
        await gate.wait()

    desk.maker.before = meet
    others = [Scheduler(desk.bench.database, desk.bench.jobs, desk.maker) for _ in range(2)]
    running = [asyncio.create_task(other.run_once()) for other in others]
    for _ in others:
        await arrived.acquire()
    gate.set()
    fired = await asyncio.gather(*running)
    assert sum(fired) == 5
    assert await desk.jobs() == 5


async def test_a_crash_between_claim_and_submit_loses_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule = await desk.make()
    await desk.late(schedule, 0)
    submit = desk.bench.jobs.submit_many

    async def before(*_: Any) -> Any:
        raise PowerCut

    async def after(*given: Any) -> Any:
        await submit(*given)
        raise PowerCut

    for cut in (before, after):
        with monkeypatch.context() as patch:
            patch.setattr(desk.bench.jobs, "submit_many", cut)
            with pytest.raises(PowerCut):
                await desk.scheduler.run_once()
        assert await desk.jobs() == 0
        assert await desk.moments(schedule) == []
    assert await desk.scheduler.run_once() == 1
    assert await desk.jobs() == 1


async def test_a_moment_is_one_job_even_if_it_seems_due_again(desk: Desk) -> None:
    schedule = await desk.make(overlap="allow")
    for _ in range(3):
        await desk.due(schedule, desk.newest)
        await desk.scheduler.run_once()
        await desk.sql("delete from app.schedule_moment")
    assert await desk.jobs() == 1


async def test_without_credits_it_is_refused_and_said(desk: Desk) -> None:
    schedule = await desk.make()
    desk.maker.price = 10**12
    await desk.late(schedule, 0)
    assert await desk.scheduler.run_once() == 1
    found = await desk.get(schedule)
    assert found.last_error is not None
    assert found.last_error["code"] == "insufficient_credits"
    assert found.next_at is not None
    (refused,) = await desk.moments(schedule)
    assert (refused.outcome, refused.job_id) == ("Refused", None)
    # Once there are credits, the moment can still have its job, and the error goes.
    desk.maker.price = PRICE
    (done,) = await desk.backfill(found, refused.moment, refused.moment)
    assert done.outcome == "Submitted"
    await desk.late(schedule, 0)
    await desk.due(schedule, refused.moment - HOUR)
    await desk.scheduler.run_once()
    assert (await desk.get(schedule)).last_error is None


@pytest.mark.parametrize(
    ("error", "code"),
    [(AppError(Code.TOOL_DISABLED, "It is off."), "tool_disabled"), (KeyError("x"), "internal")],
)
async def test_a_job_that_cannot_be_made_is_said(desk: Desk, error: Exception, code: str) -> None:
    first, second = await desk.make(name="a"), await desk.make(name="b")
    desk.maker.error = error
    for schedule in (first, second):
        await desk.late(schedule, 0)
    assert await desk.scheduler.run_once() == 2
    found = await desk.get(first)
    assert found.last_error is not None
    assert found.last_error["code"] == code


async def test_what_may_work_later_stays_due(desk: Desk) -> None:
    schedule = await desk.make()
    at = await desk.late(schedule, 0)
    desk.maker.error = AppError(Code.HUB_UNAVAILABLE, "Away.")
    assert await desk.scheduler.run_once() == 0
    assert (await desk.get(schedule)).next_at == at
    desk.maker.error = None
    assert await desk.scheduler.run_once() == 1
    assert await desk.jobs() == 1


async def test_no_overlap_with_a_job_that_still_runs(desk: Desk) -> None:
    schedule = await desk.make(overlap="skip", catch_up="all")
    await desk.late(schedule, 2)
    await desk.scheduler.run_once()
    outcomes = [one.outcome for one in await desk.moments(schedule)]
    assert (outcomes.count("Submitted"), outcomes.count("Skipped")) == (1, len(outcomes) - 1)
    await desk.sql("delete from app.schedule_moment")
    await desk.late(schedule, 0)
    await desk.scheduler.run_once()
    assert {one.outcome for one in await desk.moments(schedule)} == {"Skipped"}
    last = (await desk.get(schedule)).last_job_id
    assert last is not None
    async with desk.begin() as uow:
        await desk.bench.jobs.cancel(uow, last)
    await desk.sql("delete from app.schedule_moment")
    await desk.late(schedule, 30)
    await desk.scheduler.run_once()
    assert "Submitted" in {one.outcome for one in await desk.moments(schedule)}


async def test_a_paused_or_changed_schedule_is_left_alone(desk: Desk) -> None:
    schedule = await desk.make()
    at = await desk.late(schedule, 0)
    owner = schedule.user_id

    async def change() -> None:
        spec = replace(schedule.spec, job={"n": 2}, is_paused=True)
        async with desk.begin() as uow:
            await desk.schedules.change(uow, owner, schedule.schedule_id, spec)

    # Its owner changes it while the job is being made.
    desk.maker.before = change
    assert await desk.scheduler.run_once() == 0
    assert await desk.jobs() == 0
    desk.maker.before = None
    await desk.due(schedule, at)
    assert await desk.scheduler.run_once() == 0
    async with desk.begin() as uow:
        resumed = await desk.schedules.set_paused(uow, owner, schedule.schedule_id, is_paused=False)
    assert resumed.next_at is not None
    assert resumed.next_at > desk.newest


async def test_a_schedule_whose_time_zone_is_gone_rests(desk: Desk) -> None:
    schedule = await desk.make()
    await desk.late(schedule, 0)
    await desk.sql("update app.job_schedule set time_zone = 'Atlantis/Poseidonis'")
    assert await desk.scheduler.run_once() == 1
    found = await desk.get(schedule)
    assert found.next_at is None
    assert found.last_error is not None
    assert found.last_error["code"] == "invalid_input"
