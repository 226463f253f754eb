"""What operators see of the queue, what it costs to look, and stopping a kind of job."""

from typing import Any

import pytest

from app.kernel.errors import AppError, Code
from app.kernel.metrics import Metrics
from app.kernel.principal import SERVICE
from app.orchestration import Queue, Queues, QueueState, Scheduler, Watch
from app.orchestration.lifecycle import JOBS_TOPIC
from app.orchestration.operations.queues import store
from tests.orchestration.conftest import Bench
from tests.orchestration.operations.conftest import Maker

pytestmark = pytest.mark.anyio


def queues(bench: Bench) -> Queues:
    return Queues(lambda: bench.wakeups.wake(JOBS_TOPIC))


async def state(bench: Bench) -> QueueState:
    async with bench.database.begin(SERVICE) as uow:
        return await queues(bench).state(uow)


def of(found: QueueState, kind: str) -> Queue:
    return next(one for one in found.kinds if one.kind == kind)


async def sql(bench: Bench, statement: str, **params: Any) -> Any:
    async with bench.database.begin(SERVICE) as uow:
        result = await uow.execute(statement, params)
        return result.all() if result.returns_rows else None


async def test_an_empty_queue(bench: Bench) -> None:
    found = await state(bench)
    assert [one.kind for one in found.kinds] == ["task", "tool", "workflow"]
    assert {(one.ready, one.running, one.oldest_s) for one in found.kinds} == {(0, 0, 0.0)}
    assert (found.future, found.waiting, found.limited) == (0, 0, 0)


async def test_each_job_is_counted_as_what_it_is(bench: Bench) -> None:
    for _ in range(4):
        await bench.submit(kind="odd")
    rows = await sql(bench, "select job_id from app.job_queue order by job_id")
    a, b, c, _d = (row.job_id for row in rows)
    await sql(
        bench,
        "update app.job_queue set lease_until = now() + interval '1 minute' where job_id = :a",
        a=a,
    )
    await sql(
        bench,
        "update app.job_queue set place = null, run_at = now() + interval '1 day'"
        " where job_id = :b",
        b=b,
    )
    await sql(
        bench,
        "update app.job_queue set place = null, run_at = 'infinity', parked_as = 'Waiting'"
        " where job_id = :c",
        c=c,
    )
    await sql(
        bench, "update app.job_queue set run_at = now() - interval '1 hour' where place is not null"
    )
    found = await state(bench)
    odd = of(found, "odd")
    assert (odd.ready, odd.running) == (1, 1)
    assert 3600 <= odd.oldest_s < 3700
    assert (found.future, found.waiting, found.limited) == (1, 1, 0)


async def test_a_paused_kind_waits_until_it_is_resumed(bench: Bench) -> None:
    async with bench.database.begin(bench.user.elevated()) as uow:
        paused = await queues(bench).pause(uow, "task", "the tool is being mended")
    assert paused.is_paused
    async with bench.database.begin(bench.user.elevated()) as uow:
        again = await queues(bench).pause(uow, "task", "still")
    assert (again.reason, again.paused_at) == ("still", paused.paused_at)
    job = await bench.submit()
    # Long polls: only being woken starts the job in time.
    async with bench.working(poll_seconds=3600.0):
        other = await bench.submit()
        assert of(await state(bench), "task").ready == 2
        async with bench.database.begin(bench.user.elevated()) as uow:
            assert not (await queues(bench).resume(uow, "task")).is_paused
        for one in (job, other):
            assert (await bench.until_ended(one.job_id)).status == "Success"
    log = await sql(bench, "select action, subject, user_id from app.audit_log order by entry_id")
    assert [row.action for row in log] == ["queue.paused", "queue.paused", "queue.resumed"]
    assert {(row.subject, row.user_id) for row in log} == {("queue:task", bench.user.owner)}


async def test_an_unknown_kind_is_refused(bench: Bench) -> None:
    async with bench.database.begin(SERVICE) as uow:
        for act in (queues(bench).pause(uow, "taks"), queues(bench).resume(uow, "taks")):
            with pytest.raises(AppError) as caught:
                await act
            assert caught.value.code is Code.NOT_FOUND


def _scans(plan: Any) -> list[tuple[str, int]]:
    """Each scan of the queue in a plan: its type, and the rows it gave or dropped."""
    found = [one for child in plan.get("Plans", []) for one in _scans(child)]
    if plan.get("Relation Name") == "job_queue":
        rows = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
        found.append((plan["Node Type"], int(rows * plan["Actual Loops"])))
    return found


async def test_a_look_reads_no_more_than_its_bound(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sql(
        bench,
        """
        insert into app.job_queue (job_id, user_id, kind, place, run_at)
        select gen_random_uuid(), :user, 'tool', case when n % 2 = 0 then n end,
          now() + (case when n % 2 = 0 then '0' else '1 day' end)::interval
        from generate_series(1, 40000) as n
        """,
        user=bench.user.owner,
    )
    monkeypatch.setattr(store, "COUNTED", 500)
    found = await state(bench)
    assert (of(found, "tool").ready, found.future) == (500, 500)
    for statement, params in (
        (store._BY_KIND, {"kinds": ["task", "tool"], "most": 500}),
        (store._LATER, {"most": 500}),
    ):
        async with bench.database.begin(SERVICE) as uow:
            await store.guard(uow, is_on=True)
            explained = await uow.execute(f"explain (analyze, format json) {statement}", params)
            ((plan,),) = explained.all()
        scans = _scans(plan[0]["Plan"])
        assert scans
        assert sum(rows for _, rows in scans) < 3000
    await sql(bench, "delete from app.job_queue")


async def test_the_metrics_of_the_queue(bench: Bench) -> None:
    await bench.submit()
    async with bench.database.begin(bench.user.elevated()) as uow:
        await queues(bench).pause(uow, "task")
    metrics = Metrics()
    scheduler = Scheduler(bench.database, bench.jobs, Maker())
    await Watch(bench.database, scheduler, metrics).run_once()
    text = metrics.render().decode()
    for line in (
        'queue_jobs{kind="task",state="ready"} 1.0',
        'queue_jobs{kind="task",state="running"} 0.0',
        'queue_jobs{kind="any",state="future"} 0.0',
        'queue_paused{kind="task"} 1.0',
        'queue_paused{kind="tool"} 0.0',
        'runs_stopped_total{cause="lost"} 0.0',
    ):
        assert line in text
