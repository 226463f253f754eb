"""A queue that ran empty and was flooded: old statistics have no statement read the flood."""

from typing import Any

import orjson
import psycopg
import pytest

from app.kernel.embedded import Hub
from app.kernel.ids import new_id
from app.kernel.principal import SERVICE
from app.orchestration import store
from tests.orchestration.limits.conftest import Desk
from tests.orchestration.limits.test_plans import _rows_read

pytestmark = [pytest.mark.anyio, pytest.mark.no_books]
FLOOD, FEW = 5000, 50


def _asked(user: object, count: int) -> str:
    """What `_INSERT` takes."""
    return orjson.dumps(
        [
            {
                "job_id": new_id(), "user_id": user, "kind": "task", "definition": {},
                "price": 0, "version": 1, "priority": 0, "is_limited": False,
            }
            for _ in range(count)
        ]
    ).decode()  # fmt: skip


async def _rows(desk: Desk, sql: str, *values: object) -> float:
    """Rows of the queue that a statement read."""
    around = store.IN_ORDER if sql is store._CLAIM else None
    async with desk.database.begin(SERVICE) as uow:
        explain = f"explain (analyze, format json) {sql}"
        ((found,),) = await uow.fetch(explain, *values, around=around)
        ((sorts,),) = await uow.fetch("show enable_sort")
    assert sorts == "on"
    plan: dict[str, Any] = found[0]["Plan"]
    return _rows_read(plan, "job_queue")


@pytest.fixture(params=[0, 1, 5, 50, FLOOD])
async def flooded(desk: Desk, hub: Hub, clone: str, request: pytest.FixtureRequest) -> Desk:
    """One user's thousands are ready; the planner saw as many rows as the parameter says."""
    async with desk.database.begin(SERVICE) as uow:
        await uow.fetch(store._INSERT, _asked(desk.user, FLOOD), 0)
    with psycopg.connect(hub.dsn(hub.superuser, clone), autocommit=True) as admin:
        kept = "select job_id from app.job_queue order by job_id limit %s"
        admin.execute(f"delete from app.job_queue where job_id not in ({kept})", [request.param])
        admin.execute("analyze app.job_queue")
    async with desk.database.begin(SERVICE) as uow:
        await uow.fetch(store._INSERT, _asked(desk.user, FLOOD - request.param), 0)
    return desk


async def test_a_flood_is_read_by_nobody(flooded: Desk) -> None:
    found = await flooded.rows("select job_id from app.job_queue limit 50")
    jobs = [row.job_id for row in found]
    named = f"{{{','.join(map(str, jobs))}}}"
    ends = [{"job_id": job, "attempt": 0, "status": "Success"} for job in jobs]
    claim = ("task", 0, FEW, 60.0, "test")
    newcomers = orjson.loads(_asked(new_id(), 5)) + orjson.loads(_asked(flooded.user, 5))
    for sql, values in (
        (store._INSERT, (orjson.dumps(newcomers).decode(), 0)),
        (store._CLAIM, claim),
        (store._CLAIM_NAMED, (*claim, named)),
        (store._STAGE, (FEW, 0)),
        (store._COMPLETE, (orjson.dumps(ends).decode(),)),
    ):
        assert await _rows(flooded, sql, *values) <= 4 * FEW, sql
