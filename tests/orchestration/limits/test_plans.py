"""What a hog costs the others: nothing. Plans of the real statements, with 5,000 waiting."""

from typing import Any
from uuid import UUID

import psycopg
import pytest

from app.kernel.embedded import Hub
from app.kernel.ids import new_id
from app.kernel.principal import SERVICE
from app.orchestration import store as jobs_store
from app.orchestration.limits import store
from tests.orchestration.limits.conftest import Asked, Desk

pytestmark = [pytest.mark.anyio, pytest.mark.no_books]
HOGS = 5000


@pytest.fixture(params=[1, 2 * HOGS])
async def hogged(desk: Desk, hub: Hub, clone: str, request: pytest.FixtureRequest) -> Desk:
    """A desk where one key has one job running and thousands waiting.

    The planner saw as many slots as the parameter says.
    """
    name = f"key:{desk.user}:hog"
    for _ in range(HOGS // 1000):
        await desk.submit([Asked(desk.user, (name, "user:*"))] * 1000)
    with psycopg.connect(hub.dsn(hub.superuser, clone), autocommit=True) as admin:
        admin.execute("create temp table slots as select * from app.job_slot")
        kept = "select ctid from app.job_slot limit %s"
        admin.execute(f"delete from app.job_slot where ctid <> all(array({kept}))", [request.param])
        admin.execute("analyze app.job_slot")
        admin.execute("insert into app.job_slot select * from slots on conflict do nothing")
    return desk


def _rows_read(plan: dict[str, Any], relation: str) -> float:
    mine = 0.0
    if plan.get("Relation Name") == relation:
        seen = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)
        mine = seen * plan["Actual Loops"]
    return mine + sum(_rows_read(child, relation) for child in plan.get("Plans", []))


async def _plan(desk: Desk, sql: str, **values: Any) -> dict[str, Any]:
    async with desk.database.begin(SERVICE) as uow:
        rows = await uow.execute(f"explain (analyze, format json) {sql}", values)
        found: dict[str, Any] = rows.scalar_one()[0]["Plan"]
        return found


def _filled(sql: str, values: tuple[str, ...]) -> str:
    """A statement of the driver with its values written in."""
    for place, value in enumerate(values, start=1):
        sql = sql.replace(f"${place}", value)
    return sql.replace("::", r"\:\:")


@pytest.mark.parametrize("known_rows", [0, HOGS])
async def test_the_waiting_are_not_among_the_ready(
    hogged: Desk, hub: Hub, clone: str, known_rows: int
) -> None:
    """Though the queue was vacuumed while it was empty, and so is no row to the planner."""
    with psycopg.connect(hub.dsn(hub.superuser, clone), autocommit=True) as admin:
        admin.execute(
            "update pg_class set reltuples = %s, relpages = 100"
            " where oid = 'app.job_queue'::regclass",
            (known_rows,),
        )
    (row,) = await hogged.rows(
        "select count(*) as waiting from app.job_queue where place is null and run_at = 'infinity'"
    )
    assert row.waiting >= HOGS - 1
    jobs = [one.job_id for one in await hogged.rows("select job_id from app.job_queue limit 4")]
    ends = "select json_agg(json_build_object('job_id', id, 'attempt', 0, 'status', 'Dead')) from"
    for sql, values in (
        (jobs_store._CLAIM, ("'task'", "0", "500", "60", "'test'")),
        (jobs_store._STAGE, ("500", "0")),
        (jobs_store._COMPLETE, (f"({ends} unnest(cast(:ids as uuid[])) as id)",)),
        (jobs_store._RENEW, ()),
    ):
        given = {"ids": jobs, "tokens": [0] * len(jobs), "lease": 60}
        plan = await _plan(hogged, _filled(sql, values), **given)
        assert _rows_read(plan, "job_queue") <= 32


async def test_the_head_of_a_line_is_read_alone(hogged: Desk) -> None:
    name = f"key:{hogged.user}:hog"
    for sql, values in (
        (store._HEADS, {"names": [name], "counts": [17]}),
        (store._NEEDED, {"names": [name], "jobs": [], "most": 64}),
        (store._LASTS, {"names": [name], "users": [hogged.user], "priorities": [-2, 0, 2]}),
    ):
        plan = await _plan(hogged, sql, **values)
        assert _rows_read(plan, "job_slot") <= 64 * 4


async def test_an_end_of_another_key_reads_none_of_the_hogs(hogged: Desk) -> None:
    other: UUID = new_id()
    jobs = await hogged.submit([Asked(other, (f"key:{other}:k",))] * 2)
    plan = await _plan(hogged, store._NEEDED, names=[], jobs=jobs[:1], most=64)
    assert _rows_read(plan, "job_slot") <= 8
    await hogged.end(jobs[:1])
    assert jobs[1] in await hogged.ready()


async def test_one_end_of_the_hogs_key_reads_a_few_of_its_line(hogged: Desk) -> None:
    """However large the batch is that it comes in: others in it may be of as long lines."""
    held = await hogged.rows("select job_id from app.job_slot where is_held and name like 'key:%'")
    jobs = [row.job_id for row in held]
    plan = await _plan(hogged, store._NEEDED, names=[], jobs=jobs, most=500)
    assert len(jobs) == 1
    assert _rows_read(plan, "job_slot") <= 100
