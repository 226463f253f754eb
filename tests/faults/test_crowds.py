"""Many at once: callers against one wallet, a hot user, a flood on an empty database."""

import asyncio
from collections.abc import Sequence
from uuid import UUID, uuid4

import orjson
import pytest
from psycopg import AsyncConnection, IsolationLevel

from app.billing import Quote, to_micro
from app.kernel.errors import AppError, Code
from app.kernel.ids import new_id
from app.kernel.principal import SERVICE
from app.orchestration import Intake, JobRequest, Submitted
from tests.faults.conftest import until
from tests.faults.summary import SECONDS, record
from tests.orchestration.conftest import Bench, bench

__all__ = ["bench"]
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]

PRICE = Quote("tool", "a.b", "outcome", to_micro("0.01"), 1)
FREE = Quote("tool", "a.b", "outcome", 0, 1)
CALL = {"tool": "a.b", "arguments": {}}
ROWS = 100_000 if SECONDS else 20_000


def call(bench: Bench, **changes: object) -> JobRequest:
    return bench.request(**{"kind": "tool", "definition": CALL, "price": PRICE, **changes})


async def submitted(bench: Bench, requests: Sequence[JobRequest]) -> list[UUID]:
    results = await Intake(bench.jobs, bench.database).submit_many(list(requests))
    assert all(isinstance(one, Submitted) for one in results)
    return [one.job.job_id for one in results if isinstance(one, Submitted)]


async def count(bench: Bench, query: str) -> int:
    async with bench.database.begin(SERVICE) as uow:
        return int((await uow.execute(query)).scalar_one())


@pytest.mark.parametrize("way", ["gathered", "each alone"])
async def test_a_thousand_submits_against_credits_for_five_hundred(bench: Bench, way: str) -> None:
    """From two processes' worth of callers at once; each alone commits for itself."""
    price = Quote("tool", "a.b", "outcome", to_micro("0.02"), 1)
    sides = [Intake(bench.jobs, bench.database), Intake(bench.jobs, bench.database)]
    slots = asyncio.Semaphore(8)

    async def alone() -> Submitted:
        async with slots, bench.database.begin(bench.user.elevated()) as uow:
            return await bench.jobs.submit(uow, call(bench, price=price))

    async def one(number: int) -> Submitted | AppError:
        try:
            if way == "gathered":
                return await sides[number % 2].submit(call(bench, price=price))
            return await alone()
        except AppError as error:
            return error

    answers = await asyncio.gather(*(one(number) for number in range(1000)))
    refused = [answer.code for answer in answers if isinstance(answer, AppError)]
    assert refused == [Code.INSUFFICIENT_CREDITS] * 500
    assert await bench.wallet() == (0, to_micro(10), 0)
    assert await count(bench, "select count(*) from app.job_queue") == 500
    async with bench.working():
        await until(lambda: _is_empty(bench), 60)
    assert await bench.wallet() == (0, 0, to_micro(10))
    assert len({call.idempotency_key for call in bench.tools.calls}) == 500


async def _is_empty(bench: Bench) -> bool:
    return (
        await count(
            bench, "select count(*) from app.job_queue where run_at < now() + interval '1 hour'"
        )
        == 0
    )


async def test_jobs_flow_while_an_old_snapshot_is_held_open(bench: Bench, dsn: str) -> None:
    """Dead rows cannot be removed then; claims must still find every live one."""
    seen = "select count(*) from app.processing_jobs"
    async with await AsyncConnection.connect(dsn) as old:
        await old.set_isolation_level(IsolationLevel.REPEATABLE_READ)
        await old.execute("set local role service_role")
        assert await (await old.execute(seen)).fetchone() == (0,)
        async with bench.working(lease_seconds=60), bench.working(lease_seconds=60):
            for _ in range(10):
                await submitted(bench, [call(bench, price=FREE) for _ in range(200)])
                await until(lambda: _is_empty(bench), 60)
        assert await count(bench, f"{seen} where status = 'Success'") == 2000
        assert await (await old.execute(seen)).fetchone() == (0,)
    assert len(bench.tools.calls) == 2000


_FINISHED = """
with made as (
  insert into app.processing_jobs (job_id, user_id, kind, workflow_definition,
    price_micro, price_version, status, end_time, attempt)
  select gen_random_uuid(), :user, 'tool', '{}', 0, 1, 'Success', now(), 1
  from generate_series(1, :rows) returning job_id, user_id),
held as (
  insert into app.hold (hold_id, user_id, amount_micro) select job_id, user_id, 0 from made)
insert into app.settlement (hold_id, user_id, kind, captured_micro, released_micro)
select job_id, user_id, 'captured', 0, 0 from made
"""
_FUTURE = """
with made as (
  insert into app.processing_jobs (job_id, user_id, kind, workflow_definition,
    price_micro, price_version)
  select gen_random_uuid(), :user, 'tool', cast(:call as jsonb), 0, 1
  from generate_series(1, :rows) returning job_id, user_id, kind),
held as (
  insert into app.hold (hold_id, user_id, amount_micro) select job_id, user_id, 0 from made)
insert into app.job_queue (job_id, user_id, kind, run_at)
select job_id, user_id, kind, now() + interval '5 hours' from made
"""


async def _fill(bench: Bench, hot: UUID) -> None:
    """Rows of a platform with a past and a future: finished ones, and ones not due for hours."""
    async with bench.database.begin(SERVICE) as uow:
        await bench.billing.open_wallet(uow, hot)
        await uow.execute(_FINISHED, {"user": hot, "rows": ROWS})
        call = orjson.dumps(CALL).decode()
        await uow.execute(_FUTURE, {"user": hot, "rows": ROWS, "call": call})


async def test_straight_to_load_on_an_empty_database(bench: Bench) -> None:
    """Statistics know nothing yet; then there are many rows that claims must not visit."""
    async with bench.working(lease_seconds=60), bench.working(lease_seconds=60):
        made = await submitted(bench, [call(bench, price=FREE) for _ in range(2000)])
        await until(lambda: _is_empty(bench), 60)
        await _fill(bench, uuid4())
        made += await submitted(bench, [call(bench, price=FREE) for _ in range(2000)])
        await until(lambda: _is_empty(bench), 60)
    # None of the future ones was started, none of the present ones is left.
    assert {call.idempotency_key for call in bench.tools.calls} == {str(one) for one in made}
    assert len(bench.tools.calls) == len(made)
    assert await count(bench, "select count(*) from app.job_queue") == ROWS
    record("crowded", future_rows=ROWS, finished_rows=ROWS, jobs=len(made))


async def test_a_hot_user_does_not_delay_the_first_job_of_another(bench: Bench) -> None:
    """One user has nine of ten jobs, all queued before; each other's first is among the next."""
    batch, others = 50, [new_id() for _ in range(10)]
    hot = await submitted(bench, [call(bench, price=FREE) for _ in range(1800)])
    async with bench.database.begin(SERVICE) as uow:
        for user in others:
            await bench.billing.open_wallet(uow, user)
    theirs = {
        user: await submitted(bench, [call(bench, price=FREE, user_id=user) for _ in range(20)])
        for user in others
    }
    async with bench.working(lane_capacity=batch, lease_seconds=60):
        await until(lambda: _is_empty(bench), 60)
    order = {str(call.idempotency_key): at for at, call in enumerate(bench.tools.calls)}
    assert len(order) == len(hot) + 200
    # Their firsts stand in line with the hot user's first, not with its last.
    firsts = [order[str(jobs[0])] for jobs in theirs.values()]
    assert max(firsts) < 2 * batch, sorted(firsts)
