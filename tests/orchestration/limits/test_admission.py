"""Admission over real PostgreSQL: who gets in, who waits, what changes and ends do."""

import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from app.kernel.errors import AppError, Code
from app.kernel.ids import new_id
from app.kernel.principal import SERVICE
from app.orchestration.limits.rates import HORIZON_S, Rate
from app.orchestration.retention import store as retention
from tests.orchestration.limits.conftest import Asked, Desk
from tests.orchestration.limits.test_rates import assert_conform

pytestmark = [pytest.mark.anyio, pytest.mark.no_books]
TOOL = "tool:slow.align"


def key(desk: Desk, name: str = "k") -> str:
    return f"key:{desk.user}:{name}"


async def test_a_key_runs_one_job_at_a_time_in_order(desk: Desk) -> None:
    jobs = await desk.submit_keyed(key(desk), 4)
    seen = []
    for _ in jobs:
        (job,) = await desk.ready()
        seen.append(job)
        await desk.end([job])
    assert seen == jobs
    assert await desk.ready() == []


async def test_a_default_of_the_users_changes_all_keys_and_an_own_number_one(desk: Desk) -> None:
    await desk.put(key(desk, "*"), max_running=2)
    await desk.put(key(desk, "wide"), max_running=3)
    await desk.submit_keyed(key(desk), 5)
    await desk.submit_keyed(key(desk, "wide"), 5)
    assert len(await desk.ready()) == 2 + 3


async def test_a_job_of_several_limits_holds_all_or_none(desk: Desk) -> None:
    await desk.put(TOOL, max_running=2)
    await desk.put(f"user:{desk.user}", max_running=3)
    await desk.submit_keyed(key(desk), 3, TOOL, f"user:{desk.user}")
    assert len(await desk.ready()) == 1
    await desk.submit_keyed(TOOL, 3)
    assert len(await desk.ready()) == 2
    await desk.submit_keyed(f"user:{desk.user}", 3)
    assert len(await desk.ready()) == 4
    await desk.assert_sound()


async def test_one_with_a_full_key_is_in_nobodys_way(desk: Desk) -> None:
    await desk.put(TOOL, max_running=2)
    await desk.submit_keyed(key(desk), 200, TOOL)
    (free,) = await desk.submit([Asked(new_id(), (TOOL,))])
    assert free in await desk.ready()


async def test_one_user_does_not_delay_anothers_first_at_a_tool(desk: Desk) -> None:
    await desk.put(TOOL, max_running=1)
    hogs = await desk.submit_keyed(TOOL, 300)
    (guest,) = await desk.submit([Asked(new_id(), (TOOL,))])
    await desk.end([hogs[0]])
    await desk.end(await desk.ready())
    assert (await desk.rows("select 1 from app.job_slot where job_id = :j", j=guest)) == [] or [
        guest
    ] == await desk.ready()


async def test_raise_lower_pause_resume_and_remove(desk: Desk) -> None:
    await desk.put(TOOL, max_running=2)
    await desk.submit_keyed(TOOL, 100)
    await desk.put(TOOL, max_running=10)
    await desk.keeper.run_once()
    assert len(await desk.ready()) == 10
    await desk.put(TOOL, max_running=4)
    await desk.end((await desk.ready())[:3])
    await desk.keeper.run_once()
    assert len(await desk.ready()) == 7
    await desk.put(TOOL, is_paused=True)
    await desk.keeper.run_once()
    assert len(await desk.ready()) == 7
    await desk.put(TOOL, max_running=20)
    await desk.keeper.run_once()
    assert len(await desk.ready()) == 20
    async with desk.database.begin(SERVICE) as uow:
        await desk.limits.remove(uow, TOOL)
    await desk.keeper.run_once()
    assert len(await desk.ready()) == 97


async def test_a_default_that_is_raised_lets_its_heirs_in(desk: Desk) -> None:
    await desk.put("user:*", max_running=1)
    users = [new_id() for _ in range(3)]
    for user in users:
        await desk.submit([Asked(user, (f"user:{user}",))] * 4)
    assert len(await desk.ready()) == 3
    await desk.put("user:*", max_running=3)
    await desk.keeper.run_once()
    assert len(await desk.ready()) == 9


async def test_a_job_that_waits_can_be_cancelled(desk: Desk) -> None:
    first, second, third = await desk.submit_keyed(key(desk), 3)
    await desk.end([second])
    assert await desk.ready() == [first]
    await desk.end([first])
    assert await desk.ready() == [third]


async def _starts(desk: Desk) -> list[float]:
    """When the jobs that were let in may start."""
    rows = await desk.rows(
        "select extract(epoch from run_at)::float8 as at from app.job_queue where parked_as is null"
    )
    return [row.at for row in rows]


async def test_starts_conform_to_a_rate_and_a_retry_spends_nothing(desk: Desk) -> None:
    rate, began = Rate(600, 5), time.monotonic()
    await desk.put(TOOL, rate_per_minute=rate.per_minute, burst=rate.burst)
    for _ in range(4):
        await desk.submit_keyed(TOOL, 100)
    starts = await _starts(desk)
    # What is booked ahead grows by what has passed meanwhile.
    assert 100 <= len(starts) <= 110 + (time.monotonic() - began) / rate.period_s
    assert_conform(rate, starts)
    numbers = "select extract(epoch from tat)::float8 as tat, tat - wake_at as early"
    (before,) = await desk.rows(f"{numbers} from app.job_limit")
    # A look is worth while half a horizon before the next start.
    early_s = HORIZON_S / 2 + (rate.burst - 1) * rate.period_s
    assert before.early.total_seconds() == pytest.approx(early_s, abs=1e-3)
    await desk.keeper.run_once()
    (after,) = await desk.rows(f"{numbers} from app.job_limit")
    more = len(await _starts(desk)) - len(starts)
    assert after.tat - before.tat == pytest.approx(more * rate.period_s, abs=1e-3)


async def test_a_changed_rate_concerns_those_who_wait(desk: Desk) -> None:
    await desk.put(TOOL, rate_per_minute=1)
    await desk.submit_keyed(TOOL, 30)
    assert len(await desk.ready()) == 1
    await desk.put(TOOL, rate_per_minute=6000, burst=1000)
    await desk.keeper.run_once()
    assert len(await desk.ready()) == 30


async def test_a_job_of_a_later_time_holds_nothing_before(desk: Desk) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    (later,) = await desk.submit([Asked(desk.user, (key(desk),), run_at=soon)])
    (now,) = await desk.submit_keyed(key(desk), 1)
    await desk.keeper.run_once()
    assert await desk.ready() == [now]
    await desk.rows("update app.job_slot set due_at = now() where due_at is not null returning 1")
    await desk.keeper.run_once()
    assert await desk.ready() == [now]
    await desk.end([now])
    assert await desk.ready() == [later]


async def test_many_are_let_in_in_batches(desk: Desk) -> None:
    await desk.put(TOOL, max_running=0)
    await desk.submit_keyed(TOOL, 900)
    await desk.put(TOOL)
    await desk.keeper.run_once()
    assert len(await desk.ready()) == 900


async def test_the_sweep_repairs_what_a_fault_left(desk: Desk) -> None:
    await desk.put(TOOL, max_running=3)
    jobs = await desk.submit_keyed(TOOL, 6)
    await desk.submit_keyed(key(desk), 1)
    await desk.rows("update app.job_limit set in_use = 9 where name = :n returning 1", n=TOOL)
    # Jobs that went without a release, one of them from the line.
    await desk.rows(
        "delete from app.job_queue where job_id = any(:j) returning 1", j=[*jobs[:2], jobs[3]]
    )
    async with desk.database.begin(SERVICE) as uow:
        assert await desk.admission.heal(uow, "") == ""
    await desk.keeper.run_once()
    assert set(await desk.ready()) >= {jobs[2], jobs[4], jobs[5]}


async def test_limits_are_looked_after_while_partitions_are(desk: Desk) -> None:
    await desk.put(TOOL, max_running=0)
    jobs = await desk.submit_keyed(TOOL, 3)
    await desk.put(TOOL, max_running=2)
    async with desk.database.begin(SERVICE) as other:
        await retention.lock(other)
        await desk.keeper.run_once()
        assert await desk.ready() == jobs[:2]


async def test_a_limit_that_nobody_needs_goes(desk: Desk) -> None:
    jobs = await desk.submit_keyed(key(desk), 2)
    await desk.end(jobs)
    async with desk.database.begin(SERVICE) as uow:
        await desk.admission.heal(uow, "")
    assert await desk.rows("select 1 from app.job_limit") == []


async def test_the_queue_of_a_key_can_be_seen_page_by_page(desk: Desk) -> None:
    jobs = await desk.submit_keyed(key(desk), 8)
    seen: list[UUID] = []
    after = None
    async with desk.database.begin(SERVICE) as uow:
        while True:
            page = await desk.limits.queue(uow, key(desk), desk.user, 3, after)
            assert page.running == jobs[:1]
            assert (page.limit.running, page.limit.waiting) == (1, 7)
            assert [one.position for one in page.waiting] == [
                len(seen) + n for n in range(1, len(page.waiting) + 1)
            ]
            seen += [one.job_id for one in page.waiting]
            after = page.after
            if after is None:
                break
    assert seen == jobs[1:]


@pytest.mark.parametrize("after", ["", "1", "1.0.x", "x.0." + str(UUID(int=1)), "1.9.1"])
async def test_a_cursor_of_another_kind_is_refused(desk: Desk, after: str) -> None:
    await desk.submit_keyed(key(desk), 1)
    async with desk.database.begin(SERVICE) as uow:
        with pytest.raises(AppError) as caught:
            await desk.limits.queue(uow, key(desk), desk.user, 3, after)
    assert caught.value.code is Code.INVALID_INPUT


async def test_names_are_known_once_the_keeper_has_looked(desk: Desk) -> None:
    assert desk.limits.names_for(desk.user, tool="slow.align") == ()
    await desk.put(TOOL, max_running=2)
    await desk.keeper.run_once()
    assert desk.limits.names_for(desk.user, tool="slow.align") == (TOOL,)
    async with desk.database.begin(SERVICE) as uow:
        await desk.limits.remove(uow, TOOL)
    await desk.keeper.run_once()
    assert desk.limits.names_for(desk.user, tool="slow.align") == ()
