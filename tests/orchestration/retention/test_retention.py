"""Partitions are made ahead and dropped when they are old; nothing else is ever lost."""

import asyncio
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID, uuid4

import pytest
from prometheus_client import generate_latest

from app.billing import Quote
from app.kernel.errors import AppError, Code
from app.kernel.metrics import Metrics
from app.kernel.principal import SERVICE
from app.orchestration import Retention
from app.orchestration.retention.service import days_of_a_partition
from tests.factories import create
from tests.orchestration.retention.conftest import TABLES, Keeper, id_on

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("keep_days", "width"), [(0, 30), (1, 1), (15, 1), (16, 2), (30, 2), (90, 6), (365, 25)]
)
def test_a_table_has_few_partitions(keep_days: int, width: int) -> None:
    assert days_of_a_partition(keep_days) == width


@pytest.mark.parametrize("keep_days", [0, 7])
async def test_partitions_are_made_ahead_and_once(keeper: Keeper, keep_days: int) -> None:
    retention = keeper.retention(keep_days)
    done = await retention.apply(keeper.today)
    assert {name.rpartition("_p")[0] for name in done.made} == set(TABLES)
    assert (done.dropped, done.crowded, done.deleted) == ([], [], {})
    for table in TABLES:
        mine = [one for one in await retention.partitions() if one.table == table]
        assert [one.is_rest for one in mine] == [False] * (len(mine) - 1) + [True]
        for one, after in pairwise(mine[:-1]):
            assert one.until == after.first
        assert mine[0].first is None
        last = mine[-2].until
        assert last is not None
        assert last > keeper.today + timedelta(3)
    again = await retention.apply(keeper.today)
    assert again.made == []


async def test_maintenance_that_was_late_loses_nothing(keeper: Keeper) -> None:
    later = keeper.today + timedelta(10)
    ended, living = await keeper.job(later), await keeper.job(later, is_ended=False)
    before = await keeper.bench.view(ended)
    assert {keeper.where(table, ended)[0] for table in ("processing_jobs", "job_events")} == {
        "processing_jobs_default",
        "job_events_default",
    }
    # A day after the jobs were made, with nothing done meanwhile.
    done = await keeper.retention(15).apply(later + timedelta(1))
    assert done.crowded == []
    for table in ("processing_jobs", "job_events"):
        assert (
            keeper.where(table, ended)
            == keeper.where(table, living)
            == [f"{table}_p{later:%Y%m%d}"]
        )
        rest = keeper.admin.execute(f"select count(*) from app.{table}_default").fetchone()
        assert rest == (0,)
    assert await keeper.bench.view(ended) == before
    await keeper.end("later")
    assert (await keeper.bench.view(living)).status == "Success"


async def test_more_than_can_be_moved_at_once_stays_in_the_rest(keeper: Keeper) -> None:
    later = keeper.today + timedelta(10)
    job_id = id_on(later)
    async with keeper.bench.database.begin(SERVICE) as uow:
        await uow.execute(
            "insert into app.job_events (job_id, seq, user_id, kind, data)"
            " select :job, n, :user, 'progress', '{}' from generate_series(1, 50001) n",
            {"job": job_id, "user": keeper.bench.user.owner},
        )
    done = await keeper.retention(15).apply(later)
    assert done.crowded == [f"job_events: {later} to {later + timedelta(1)}"]
    assert f"job_events_p{later + timedelta(1):%Y%m%d}" in done.made
    assert set(keeper.where("job_events", job_id)) == {"job_events_default"}
    assert f"processing_jobs_p{later:%Y%m%d}" in done.made


async def _belongings(keeper: Keeper, job_id: UUID) -> dict[str, int]:
    counts = {}
    for table in ("job_key", "job_waits", "dead_letter", "agent_runs", "files", "job_steps"):
        query = f"select count(*) from app.{table} where job_id = %s"
        row = keeper.admin.execute(query, (job_id,)).fetchone()
        assert row is not None
        counts[table] = row[0]
    return counts


async def _give(keeper: Keeper, job_id: UUID) -> None:
    user = keeper.bench.user.owner
    async with keeper.bench.database.begin(SERVICE) as uow:
        for table in ("job_key", "job_waits", "dead_letter", "agent_runs", "job_steps"):
            await create(uow, table, user, job_id=job_id)
        await create(uow, "files", user, job_id=job_id, kind="artifact")


async def test_old_jobs_go_and_the_books_balance(keeper: Keeper) -> None:
    keeper.end_past(40)
    old, oldest = await keeper.job(keeper.ago(35)), await keeper.job(keeper.ago(50))
    young = await keeper.job(keeper.ago(29))
    for job_id in (old, oldest, young):
        await _give(keeper, job_id)
    wallet = await keeper.bench.wallet()
    retention = keeper.retention(30)
    due = {one.name for one in await retention.due(keeper.today)}
    done = await retention.apply(keeper.today)
    assert set(done.dropped) == due
    assert {f"{table}_past" for table in TABLES} < due
    assert {f"{table}_p{keeper.ago(31):%Y%m%d}" for table in TABLES} < due
    assert not any(name.endswith(f"_p{keeper.ago(30):%Y%m%d}") for name in due)
    for job_id in (old, oldest):
        assert set((await _belongings(keeper, job_id)).values()) == {0}
        with pytest.raises(AppError) as refused:
            await keeper.bench.view(job_id)
        assert refused.value.code == Code.NOT_FOUND
    assert set((await _belongings(keeper, young)).values()) == {1}
    assert (await keeper.bench.view(young)).status == "Success"
    assert await keeper.bench.wallet() == wallet
    held = keeper.admin.execute("select count(*) from app.settlement").fetchone()
    assert held == (3,)


async def test_a_living_job_keeps_its_partition(keeper: Keeper) -> None:
    keeper.end_past(40)
    living, beside = (
        await keeper.job(keeper.ago(35), is_ended=False),
        await keeper.job(keeper.ago(35)),
    )
    await _give(keeper, living)
    retention = keeper.retention(30)
    kept = f"_p{keeper.ago(35):%Y%m%d}"
    assert not any(name.endswith(kept) for name in (await retention.apply(keeper.today)).dropped)
    assert {one.table for one in await retention.partitions() if one.is_living} == set(TABLES)
    assert (await keeper.bench.view(beside)).status == "Success"
    assert set((await _belongings(keeper, living)).values()) == {1}
    await keeper.end("later")
    assert sorted((await retention.apply(keeper.today)).dropped) == sorted(
        f"{table}{kept}" for table in TABLES
    )


async def test_what_is_old_in_the_rest_is_deleted(keeper: Keeper) -> None:
    keeper.end_past(40)
    await keeper.retention(38).apply(keeper.today)
    # No partition covers that day any more.
    old, living = await keeper.job(keeper.ago(39)), await keeper.job(keeper.ago(39), is_ended=False)
    async with keeper.bench.database.begin(SERVICE) as uow:
        strange = UUID(int=uuid4().int >> 4)
        await create(uow, "job_steps", keeper.bench.user.owner, job_id=strange)
    assert keeper.where("processing_jobs", old) == ["processing_jobs_default"]
    done = await keeper.retention(38).apply(keeper.today)
    assert done.deleted == {"processing_jobs": 1, "job_events": 1}
    assert keeper.where("processing_jobs", old) == []
    assert keeper.where("processing_jobs", living) == ["processing_jobs_default"]
    assert keeper.where("job_steps", strange) == ["job_steps_default"]


async def test_by_default_nothing_goes(keeper: Keeper) -> None:
    keeper.end_past(40)
    old = await keeper.job(keeper.ago(39))
    retention = keeper.retention(0)
    assert await retention.due(keeper.today) == []
    done = await retention.apply(keeper.today)
    assert (done.dropped, done.deleted) == ([], {})
    assert (await keeper.bench.view(old)).status == "Success"


async def test_delivered_events_go(keeper: Keeper) -> None:
    ids = {name: id_on(keeper.ago(40)) for name in ("old", "late", "pending")}
    async with keeper.bench.database.begin(SERVICE) as uow:
        for name, event_id in ids.items():
            done_at = {"old": keeper.ago(39), "late": keeper.today, "pending": None}[name]
            await create(uow, "outbox", uuid4(), event_id=event_id, done_at=done_at)
    assert (await keeper.retention(30).apply(keeper.today)).deleted == {"outbox": 1}
    left = {one for (one,) in keeper.admin.execute("select event_id from app.outbox")}
    assert left == {ids["late"], ids["pending"]}


async def test_nobody_waits_behind_a_busy_table(keeper: Keeper) -> None:
    keeper.end_past(40)
    retention = keeper.retention(30)
    async with keeper.bench.database.begin(SERVICE) as uow:
        await uow.execute("select count(*) from app.processing_jobs")
        with pytest.raises(AppError) as refused:
            await retention.run_once()
        assert refused.value.details["sqlstate"] == "55P03"
    names = {one.name for one in await retention.partitions()}
    assert "processing_jobs_past" in names
    # Not before a minute is over; whoever asks for it now gets it.
    assert await retention.run_once() is None
    assert "processing_jobs_past" in (await retention.apply(keeper.today)).dropped


async def test_jobs_are_taken_and_end_while_partitions_come_and_go(keeper: Keeper) -> None:
    keeper.end_past(40)
    retention, bench = keeper.retention(30), keeper.bench
    before = {one.name for one in await retention.partitions()}
    async with bench.working():
        upkeep = asyncio.create_task(_kept_up(keeper, retention))
        jobs = [
            await bench.submit(price=Quote("template", "t", "outcome", 1, 1)) for _ in range(60)
        ]
        await upkeep
        ended = [await bench.until_ended(job.job_id) for job in jobs]
    assert {job.status for job in ended} == {"Success"}
    after = {one.name for one in await retention.partitions()}
    assert len(before - after) > 10
    # one day, or two if midnight came after the test's database was made
    made = after - before
    days = {name[-8:] for name in made}
    assert len(days) in (1, 2)
    assert made == {f"{table}_p{day}" for table in TABLES for day in days}
    done = await retention.apply(keeper.today)
    assert (done.made, done.crowded, done.dropped) == ([], [], [])


async def _kept_up(keeper: Keeper, retention: Retention) -> None:
    """Upkeep until it is done; like the platform's, it comes back to a table that was busy."""
    while True:
        try:
            await retention.apply(keeper.today)
        except AppError as error:
            if error.details["sqlstate"] != "55P03":
                raise
        else:
            return


async def test_it_runs_once_an_hour_and_shows_sizes(keeper: Keeper) -> None:
    metrics = Metrics()
    retention = Retention(keeper.bench.database, keep_days=0, metrics=metrics)
    assert await retention.run_once() is not None
    assert await retention.run_once() is None
    shown = generate_latest(metrics.registry).decode()
    assert 'partitions{table="processing_jobs"}' in shown
    assert 'partitions_bytes{table="job_events"}' in shown


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ("drop_partition('hold', current_date - 1)", "no table of jobs"),
        ("drop_partition(null, current_date - 1)", "no table of jobs"),
        ("drop_partition('job_events', current_date + 2)", "not in the past"),
        ("drop_partition('job_events', null)", "not in the past"),
        ("make_partition('hold', current_date, current_date + 1)", "no such partitioned"),
        ("make_partition('job_events', null, current_date)", "not a span"),
        ("make_partition('job_events', current_date, current_date)", "not a span"),
        ("make_partition('job_events', current_date, current_date + 401)", "not a span"),
        ("delete_overflow('outbox', current_date - 1, 1)", "no table of jobs"),
        ("delete_overflow('job_events', current_date + 2, 1)", "not in the past"),
        ("delete_overflow('job_events', current_date - 1, 10001)", "at most"),
        ("delete_overflow('job_events', current_date - 1, null)", "at most"),
    ],
)
async def test_the_functions_refuse_what_would_harm(keeper: Keeper, call: str, words: str) -> None:
    with pytest.raises(Exception, match=words):
        async with keeper.bench.database.begin(SERVICE) as uow:
            await uow.execute(f"select app.{call}")


@pytest.mark.parametrize(
    "query",
    [
        "select app.drop_partition('job_events', current_date - 1)",
        "select app.make_partition('job_events', current_date + 9, current_date + 10)",
        "select app.delete_overflow('job_events', current_date - 1, 1)",
        "select app.partitions()",
        "select 1 from app.processing_jobs_past",
        "select 1 from app.job_events_default",
    ],
)
async def test_users_reach_neither_functions_nor_partitions(keeper: Keeper, query: str) -> None:
    with pytest.raises(Exception, match="permission denied"):
        async with keeper.bench.database.begin(keeper.bench.user) as uow:
            await uow.execute(query)


async def test_not_even_the_platform_reaches_a_partition(keeper: Keeper) -> None:
    for change in ("delete from app.job_events_past", "drop table app.job_events_past"):
        with pytest.raises(Exception, match=r"permission denied|must be owner"):
            async with keeper.bench.database.begin(SERVICE) as uow:
                await uow.execute(change)


async def test_a_user_sees_own_rows_alone_in_each_partition(keeper: Keeper) -> None:
    keeper.end_past(3)
    other: Any = uuid4()
    days = [keeper.ago(9), keeper.ago(2), keeper.today + timedelta(90)]
    async with keeper.bench.database.begin(SERVICE) as uow:
        for day in days:
            for owner in (keeper.bench.user.owner, other):
                await create(uow, "job_steps", owner, job_id=id_on(day))
    async with keeper.bench.database.begin(keeper.bench.user) as uow:
        rows = (await uow.execute("select user_id from app.job_steps")).scalars().all()
    assert rows == [keeper.bench.user.owner] * len(days)
