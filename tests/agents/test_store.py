"""`agent_runs` in a real database."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from sqlalchemy.exc import ProgrammingError

from app.agents import AgentRun
from app.agents.store import AgentRunStore
from app.kernel.db import Database
from app.kernel.ids import new_id
from app.kernel.principal import SERVICE, Principal

pytestmark = pytest.mark.anyio
OWNER, STRANGER, JOB = (UUID(int=n) for n in (1, 2, 3))


def a_run(**changes: object) -> AgentRun:
    run = AgentRun(
        run_id=new_id(),
        job_id=JOB,
        user_id=OWNER,
        project_id=None,
        step=0,
        role="planner",
        attempt=1,
        status="Success",
        summary="planned",
        started_at=datetime(2030, 1, 1, tzinfo=UTC),
        duration_ms=12,
        output={"plan": {"b": [1, 0.1], "a": None}, "last": "planner"},
    )
    return replace(run, **changes)  # type: ignore[arg-type]


async def test_rows_come_back_whole_and_in_the_order_of_steps(database: Database) -> None:
    store = AgentRunStore()
    second, first = a_run(role="retriever", step=1), a_run()
    async with database.begin(SERVICE) as uow:
        await store.record(uow, second)
        await store.record(uow, first)
        await store.record(uow, a_run(job_id=UUID(int=9)))
    async with database.begin(SERVICE) as uow:
        assert await store.load(uow, JOB) == [first, second]


async def test_the_first_row_of_a_role_and_attempt_stands(database: Database) -> None:
    store = AgentRunStore()
    first, again = a_run(), a_run(summary="planned twice")
    other_try = a_run(attempt=2, step=1)
    async with database.begin(SERVICE) as uow:
        for run in (first, again, other_try):
            await store.record(uow, run)
        assert await store.load(uow, JOB) == [first, other_try]


async def test_only_the_owner_reads_a_row_and_no_user_writes_one(database: Database) -> None:
    store = AgentRunStore()
    async with database.begin(SERVICE) as uow:
        await store.record(uow, a_run())
    async with database.begin(Principal("user", OWNER)) as uow:
        assert len(await store.load(uow, JOB)) == 1
    async with database.begin(Principal("user", STRANGER)) as uow:
        assert await store.load(uow, JOB) == []
    with pytest.raises(ProgrammingError, match="permission denied"):
        async with database.begin(Principal("user", OWNER)) as uow:
            await store.record(uow, a_run(attempt=2))
