"""What an owner does with schedules: names, changes, backfills."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from app.kernel.errors import AppError, Code
from app.orchestration.operations import preview, schedules
from app.orchestration.operations.firing import key_of
from tests.orchestration.operations.conftest import HOUR, Desk, codes

pytestmark = pytest.mark.anyio
DAY = timedelta(days=1)


async def test_a_schedule_as_it_was_made(desk: Desk) -> None:
    schedule = await desk.make("30 2 * * *", time_zone="Europe/Berlin", limit_key="gpu", priority=2)
    assert schedule.next_at is not None
    assert schedule.next_at.minute == 30
    assert await desk.get(schedule) == schedule
    async with desk.begin() as uow:
        assert await desk.schedules.list(uow, schedule.user_id) == [schedule]
        assert await desk.schedules.list(uow, schedule.user_id, 5, schedule.schedule_id) == []


async def test_what_cannot_be_a_schedule(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    await desk.make(name="a")
    monkeypatch.setattr(schedules, "MAX_SCHEDULES", 2)
    for cron, name, code in (
        ("* * * *", "b", Code.INVALID_INPUT),
        ("* * */20 2 3#5", "b", Code.INVALID_INPUT),
        ("* * * * *", "a", Code.CONFLICT),
    ):
        with pytest.raises(AppError) as caught:
            await desk.make(cron, name=name)
        assert caught.value.code is code
    second = await desk.make(name="b")
    with pytest.raises(AppError, match="2 schedules"):
        await desk.make(name="c")
    async with desk.begin() as uow:
        with pytest.raises(AppError, match="named 'a'"):
            await desk.schedules.change(
                uow, second.user_id, second.schedule_id, replace(second.spec, name="a")
            )


async def test_another_user_finds_nothing(desk: Desk) -> None:
    schedule = await desk.make()
    stranger = uuid4()
    async with desk.begin() as uow:
        for act in (
            desk.schedules.get(uow, stranger, schedule.schedule_id),
            desk.schedules.change(uow, stranger, schedule.schedule_id, schedule.spec),
            desk.schedules.set_paused(uow, stranger, schedule.schedule_id, is_paused=True),
            desk.schedules.delete(uow, stranger, schedule.schedule_id),
            desk.schedules.moments(uow, stranger, schedule.schedule_id),
        ):
            with pytest.raises(AppError) as caught:
                await act
            assert caught.value.code is Code.NOT_FOUND
    assert await desk.get(schedule) == schedule


async def test_a_deleted_schedule_leaves_its_jobs(desk: Desk) -> None:
    schedule = await desk.make()
    await desk.late(schedule, 0)
    await desk.scheduler.run_once()
    async with desk.begin() as uow:
        await desk.schedules.delete(uow, schedule.user_id, schedule.schedule_id)
    assert await desk.jobs() == 1
    assert await desk.sql("select 1 from app.schedule_moment") == []


async def test_a_backfill_is_once_for_each_moment(desk: Desk) -> None:
    schedule, last = await desk.make(), desk.newest
    done = await desk.backfill(schedule, last - 3 * HOUR, last)
    assert [one.moment for one in done] == [last - back * HOUR for back in (3, 2, 1, 0)]
    assert {one.outcome for one in done} == {"Submitted"}
    wider = await desk.backfill(schedule, last - 5 * HOUR, last)
    assert [one.moment for one in wider] == [last - 5 * HOUR, last - 4 * HOUR]
    # Neither a forgotten record nor the scheduler makes a second job of a moment.
    await desk.sql("delete from app.schedule_moment")
    again = await desk.backfill(schedule, last - 5 * HOUR, last)
    assert len(again) == await desk.jobs() == 6
    await desk.due(schedule, last)
    await desk.scheduler.run_once()
    assert await desk.jobs() == 6


async def test_a_moment_fired_before_a_change_stays_its_job(desk: Desk) -> None:
    schedule, last = await desk.make(), desk.newest
    (first,) = await desk.backfill(schedule, last, last)
    await desk.sql("delete from app.schedule_moment")
    async with desk.begin() as uow:
        changed = await desk.schedules.change(
            uow, schedule.user_id, schedule.schedule_id, replace(schedule.spec, job={"n": 2})
        )
    (second,) = await desk.backfill(changed, last, last)
    assert second.job_id == first.job_id
    assert codes([second]) == [None]


async def test_what_cannot_be_backfilled(desk: Desk) -> None:
    schedule, now = await desk.make("* * * * *"), desk.newest
    for first, last in ((now, now - DAY), (now, now + HOUR), (now - DAY, now)):
        with pytest.raises(AppError) as caught:
            await desk.backfill(schedule, first, last)
        assert caught.value.code is Code.INVALID_INPUT
    async with desk.begin() as uow:
        await desk.schedules.change(uow, schedule.user_id, schedule.schedule_id, schedule.spec)
    with pytest.raises(AppError, match="changed meanwhile"):
        await desk.backfill(schedule, now, now)
    assert await desk.jobs() == 0


async def test_a_backfill_of_a_thousand(desk: Desk) -> None:
    schedule, last = await desk.make("* * * * *"), desk.newest
    desk.maker.price = 0
    done = await desk.backfill(schedule, last - timedelta(minutes=999), last)
    assert len(done) == await desk.jobs() == 1000
    await desk.backfill(schedule, last - timedelta(minutes=1010), last - timedelta(minutes=999))
    assert len(await desk.sql("select 1 from app.schedule_moment")) == 1000


def test_a_preview() -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert preview("0 0 * * *", "UTC", at, 2) == [at + DAY, at + 2 * DAY]


def test_a_key_names_schedule_and_moment() -> None:
    at = datetime(2026, 1, 1, 12, 30, tzinfo=UTC)
    one = uuid4()
    assert key_of(one, at) == f"schedule:{one}:2026-01-01T12:30:00Z"
