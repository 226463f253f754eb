"""Where paths cross: heartbeats with ends, submits of several kinds and of several processes."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from app.billing import Quote, to_micro
from app.kernel.ids import new_id
from app.kernel.principal import SERVICE
from app.orchestration import Jobs, Submitted, store
from app.orchestration.lane import FastLane, Want
from app.orchestration.types import End, Lease
from app.orchestration.workflow.running import store as steps
from app.orchestration.workflow.running.records import Park
from app.orchestration.workflow.running.run import Run, Writes
from app.orchestration.workflow.running.writing import Writer
from tests.orchestration.conftest import Bench

pytestmark = pytest.mark.anyio

FREE = Quote("tool", "a.b", "outcome", 0, 1)
PATIENCE_S = 30


async def queued(
    bench: Bench, count: int, jobs: Jobs | None = None, **changes: object
) -> set[UUID]:
    """Queue jobs of one user; their ids."""
    user = new_id()
    request = bench.request(**{"user_id": user, "price": FREE, "kind": "tool"} | changes)
    async with bench.database.begin(SERVICE) as uow:
        await bench.billing.open_wallet(uow, user)
        made = await (jobs or bench.jobs).submit_many(uow, [request] * count)
    return {one.job.job_id for one in made if isinstance(one, Submitted)}


async def leased(bench: Bench, count: int) -> Sequence[Lease]:
    await queued(bench, count)
    async with bench.database.begin(SERVICE) as uow:
        leases = await store.claim(uow, "tool", count, 30, "w")
    return sorted(leases, key=lambda lease: lease.job_id)


async def ahead_of(bench: Bench, job_id: UUID, others: set[UUID]) -> int:
    """How many of the others are claimed before a job."""
    async with bench.database.begin(SERVICE) as uow:
        rows = await uow.execute(
            "select count(*) from app.job_queue where job_id = any(:others)"
            " and place < (select coalesce(place, 2 ^ 62) from app.job_queue where job_id = :job)",
            {"others": list(others), "job": job_id},
        )
        return int(rows.scalar_one())


async def end_all(bench: Bench) -> None:
    async with bench.database.begin(SERVICE) as uow:
        leases = await store.claim(uow, "tool", 500, 30, "w")
        leases += await store.claim(uow, "task", 500, 30, "w")
        await bench.lifecycle.finish_many(uow, [End(lease, "Failed") for lease in leases])


async def test_a_heartbeat_waits_for_no_end_and_no_end_deadlocks_with_it(bench: Bench) -> None:
    first, last = await leased(bench, 2)
    async with asyncio.timeout(PATIENCE_S):
        async with bench.database.begin(SERVICE) as beat, bench.database.begin(SERVICE) as lane:
            await store.renew(beat, {first.job_id: first.attempt}, 30)
            await bench.lifecycle.finish_many(lane, [End(last, "Success", {})])
            held = {lease.job_id: lease.attempt for lease in (first, last)}
            assert (await store.renew(beat, held, 30)).keys() == held.keys()
        async with bench.database.begin(SERVICE) as uow:
            await bench.lifecycle.finish_many(uow, [End(first, "Success", {})])


async def test_a_long_transaction_of_one_run_costs_no_other_its_lease(bench: Bench) -> None:
    slow, other = await leased(bench, 2)
    held = {lease.job_id: lease.attempt for lease in (slow, other)}
    async with asyncio.timeout(PATIENCE_S), bench.database.begin(SERVICE) as run:
        await bench.lifecycle.fence(run, slow)
        async with bench.database.begin(SERVICE) as beat:
            assert (await store.renew(beat, held, 300)).keys() == held.keys()
    async with bench.database.begin(SERVICE) as uow:
        rows = await uow.execute(
            "select job_id from app.job_queue where lease_until > now() + interval '200 s'"
        )
        assert [row.job_id for row in rows] == [other.job_id]
        await bench.lifecycle.finish_many(
            uow, [End(slow, "Success", {}), End(other, "Success", {})]
        )


async def test_a_submit_of_one_kind_hides_no_queue_of_another(bench: Bench) -> None:
    crowd = await queued(bench, 200, kind="task")
    await queued(bench, 1)
    (mine,) = await queued(bench, 1, kind="task")
    assert await ahead_of(bench, mine, crowd) <= 1
    await end_all(bench)


async def test_a_process_that_looked_too_early_finds_the_queue_of_another(bench: Bench) -> None:
    mine = Jobs(bench.billing, bench.lifecycle, bench.database, bench.wakeups)
    request = bench.request(price=FREE, kind="tool")
    async with bench.database.begin(SERVICE) as uow:
        # It begins first and commits last: to the other process the queue is empty.
        made = await bench.jobs.submit_many(uow, [request] * 200)
        await queued(bench, 1, mine)
    crowd = {one.job.job_id for one in made if isinstance(one, Submitted)}
    async with asyncio.timeout(PATIENCE_S):
        while True:
            (one,) = await queued(bench, 1, mine)
            if await ahead_of(bench, one, crowd) <= 1:
                break
    await end_all(bench)


async def test_an_end_that_asks_for_more_than_its_hold_leaves_no_hold_open(bench: Bench) -> None:
    job = await bench.submit(kind="tool")
    async with bench.database.begin(SERVICE) as uow:
        (lease,) = await store.claim(uow, "tool", 1, 30, "w")
        end = End(lease, "Success", {}, charge_micro=2 * job.price_micro)
        await bench.lifecycle.finish_many(uow, [end])
    assert await bench.wallet() == (to_micro(8), 0, to_micro(2))


async def test_a_lane_that_fails_begins_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound, failures = FastLane._wanted, [ValueError("a fault")]

    def wanted(self: FastLane) -> Want:
        if failures:
            raise failures.pop()
        return sound(self)

    monkeypatch.setattr(FastLane, "_wanted", wanted)
    job = await bench.submit(kind="tool", definition={"tool": "a.b", "arguments": {}})
    async with bench.working():
        assert (await bench.until_ended(job.job_id)).status == "Success"


async def test_runs_are_parked_before_wallets_are_locked(bench: Bench) -> None:
    """A step of a run locks its queue row, then the wallet of its user, to hold more."""
    for _ in range(2):
        await bench.submit(kind="workflow")
    async with bench.database.begin(SERVICE) as uow:
        over, paused = await store.claim(uow, "workflow", 2, 30, "w")
    parts = (bench.database, bench.wakeups, bench.lifecycle, bench.billing)
    batch = [
        Writes(Run(over), [], end=End(over, "Failed")),
        Writes(Run(paused), [], park=Park(60.0)),
    ]
    async with asyncio.timeout(PATIENCE_S):
        async with bench.database.begin(SERVICE) as step:
            await steps.hold(step, paused.job_id, paused.attempt)
            writing = asyncio.create_task(Writer(*parts, 30, "w").write(batch))
            await until_blocked(bench)
            await step.execute(
                "select 1 from app.wallet where user_id = :user for update",
                {"user": bench.user.owner},
            )
        assert (await writing).lost == set()


async def until_blocked(bench: Bench) -> None:
    """Until somebody waits for a lock in this database; the server has others."""
    query = """
    select 1 from pg_locks join pg_stat_activity using (pid)
    where not granted and datname = current_database()
    """
    while True:
        async with bench.database.begin(SERVICE) as uow:
            waiting = await uow.execute(query)
            if waiting.first() is not None:
                return


async def test_a_crowd_that_is_due_delays_no_others_first(bench: Bench) -> None:
    crowd = await queued(bench, 300, run_at=datetime.now(UTC) + timedelta(days=1))
    (mine,) = await queued(bench, 1, run_at=datetime.now(UTC) + timedelta(days=1))
    async with bench.database.begin(SERVICE) as uow:
        await uow.execute(
            "update app.job_queue set run_at = now() - make_interval(secs => case"
            " when job_id = :mine then 1 else 60 end)",
            {"mine": mine},
        )
        assert (await store.stage(uow, 100))[0] == 100
    assert await ahead_of(bench, mine, crowd) <= 1
    async with bench.database.begin(SERVICE) as uow:
        while (await store.stage(uow, 100))[0]:
            pass
    await end_all(bench)


async def test_a_start_long_past_makes_no_job_wait_longer_than_it_does(bench: Bench) -> None:
    await queued(bench, 1, run_at=datetime(1970, 1, 1, tzinfo=UTC))
    async with bench.database.begin(SERVICE) as uow:
        depth, oldest_s = await store.queue_depth(uow)
    assert depth == 1
    assert oldest_s < 3600
    await end_all(bench)
