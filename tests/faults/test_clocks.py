"""Workers whose clocks are wrong by minutes: leases know the database's clock only."""

import functools
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import pytest
from sqlalchemy import CursorResult, Executable

from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal
from app.kernel.uow import Params, UnitOfWork
from app.orchestration import Intake
from tests.faults.conftest import until
from tests.faults.crew import Crew
from tests.faults.history import judge
from tests.orchestration.conftest import Bench, bench

__all__ = ["bench"]
pytestmark = pytest.mark.anyio

SKEW_S = 300.0
# Longer than any pause, and shorter than the skew: by a wrong clock it would be over at once.
LEASE_S = SKEW_S / 2


async def test_workers_five_minutes_fast_and_slow_share_the_work(crew: Crew) -> None:
    """With leases by the worker's clock, the fast one would take whatever the slow one runs."""
    bench = crew.bench
    keys = [str(number) for number in range(150)]
    for key in keys:
        crew.diary.note("submit", 0, key=key)
    await Intake(bench.jobs, bench.database).submit_many(
        [
            crew.request("crew.wait", idempotency_key=key)
            if int(key) % 10
            else crew.request(ms=20, idempotency_key=key, kind="task")
            for key in keys
        ]
    )
    for skew in (SKEW_S, -SKEW_S):
        worker = crew.start(clock_s=skew, lease_seconds=LEASE_S, lane_capacity=10)
        # Nothing ends before both have begun, so that no one of them is too late.
        await until(functools.partial(crew.has_begun, worker))
    crew.let_go()
    await until(crew.is_idle)
    rows = await crew.rows()
    assert judge(crew.diary.read(), rows) == []
    # Nobody took a lease that another had; nothing waited for a clock to catch up.
    assert {(row.status, row.attempt) for row in rows} == {("Success", 1)}
    pids = {line["pid"] for line in crew.diary.read() if line["event"] == "start"}
    assert len(pids) == 2


class Noted:
    """Transactions that keep each statement and its parameters."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self.statements: list[tuple[str, Any]] = []

    @asynccontextmanager
    async def begin(self, principal: Principal) -> AsyncIterator[UnitOfWork]:
        async with self._bench.database.begin(principal) as inner:
            uow = _NotedUnit(inner.conn, inner.principal, inner.assume)
            uow.notes = self.statements
            yield uow
        uow.committed()


class _NotedUnit(UnitOfWork):
    notes: list[tuple[str, Any]]

    async def execute(
        self, statement: str | Executable, params: Params = None
    ) -> CursorResult[Any]:
        self.notes.append((str(statement), dict(params or {})))  # type: ignore[arg-type]
        return await super().execute(statement, params)

    async def fetch(self, statement: Any, *values: Any, **options: Any) -> Any:
        self.notes.append((str(statement), list(values)))
        return await super().fetch(statement, *values, **options)


def _moments(value: Any) -> list[Any]:
    """Whatever in a parameter could be a moment of the worker's clock."""
    if isinstance(value, datetime | date):
        return [value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        # A place in the queue is a number of the database's own, in microseconds.
        return [value] if 1e8 < value < 1e14 else []
    if isinstance(value, str):
        return re.findall(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d", value)
    if isinstance(value, dict):
        return [found for one in value.values() for found in _moments(one)]
    return [found for one in value for found in _moments(one)] if isinstance(value, list) else []


async def test_no_moment_of_a_worker_reaches_the_queue(bench: Bench) -> None:
    """Through claim, renewal, retry and end, the statements take durations and never times."""
    noted = Noted(bench)
    bench.tools.answer = AppError(Code.TOOL_SERVER_DOWN, "gone")
    call = {"tool": "a.b", "arguments": {}}
    jobs = [await bench.submit(kind="tool", definition=call), await bench.submit()]
    other = replace(bench, database=noted)  # type: ignore[arg-type]
    async with other.working(max_attempts=2, lease_seconds=0.5):
        for job in jobs:
            await bench.until_ended(job.job_id)
    leasing = [one for one in noted.statements if "job_queue" in one[0]]
    assert any("lease_until = now()" in statement for statement, _ in leasing)
    assert any("make_interval" in statement for statement, _ in leasing)
    for statement, params in leasing:
        assert _moments(params) == [], statement
