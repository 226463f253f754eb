"""What PostgreSQL itself refuses: a cycle of locks, no connection left, a slow statement."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import psycopg
import pytest
from psycopg import AsyncConnection

from app.billing import to_micro
from app.kernel.embedded import Hub
from app.kernel.errors import AppError, Code
from app.kernel.principal import SERVICE
from app.orchestration import Intake
from tests.faults.conftest import until
from tests.orchestration.conftest import Bench, bench

__all__ = ["bench"]
pytestmark = pytest.mark.anyio

CALL = {"tool": "a.b", "arguments": {}}


@contextlib.asynccontextmanager
async def intruder(dsn: str) -> AsyncIterator[AsyncConnection]:
    """A transaction of somebody else, who may do anything and keeps no order of locks."""
    async with await AsyncConnection.connect(dsn) as conn:
        await conn.execute("set local role service_role")
        yield conn
        with contextlib.suppress(psycopg.Error):
            await conn.rollback()


# Of this database alone: other tests wait for locks on the same server.
_WAITING = """
from pg_stat_activity join pg_locks l using (pid)
where datname = current_database() and not l.granted
"""


async def _waits_for_a_lock(bench: Bench) -> bool:
    async with bench.database.begin(SERVICE) as uow:
        return int((await uow.execute(f"select count(*) {_WAITING}")).scalar_one()) > 0


async def test_a_cycle_of_locks_is_broken_and_the_end_written_later(bench: Bench, dsn: str) -> None:
    """An outsider locks the wallet, then the queue; the lane does it the other way round."""
    reached = bench.tools.hold()
    job = await bench.submit(kind="tool", definition=CALL)
    async with bench.working(lease_seconds=60), intruder(dsn) as other:
        async with asyncio.timeout(20):
            await reached.wait()
        await other.execute(
            "select 1 from app.wallet where user_id = %s for update", (bench.user.owner,)
        )
        bench.tools.go()
        await until(lambda: _waits_for_a_lock(bench))
        with contextlib.suppress(psycopg.errors.DeadlockDetected):
            await other.execute("select 1 from app.job_queue for update")
        await other.rollback()
        done = await bench.until_ended(job.job_id)
    assert done.status == "Success"
    assert len(bench.tools.calls) == 1
    assert await bench.wallet() == (to_micro(8), 0, to_micro(2))


async def test_a_slow_statement_is_cut_off_and_tried_again(bench: Bench, dsn: str) -> None:
    """A lock held too long for the statements' time limit of a worker's sessions."""
    name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    assert isinstance(name, str)
    job = await bench.submit(kind="tool", definition=CALL)
    async with bench.working(lease_seconds=60, poll_seconds=0.02), intruder(dsn) as other:
        await other.execute(
            "select 1 from app.wallet where user_id = %s for update", (bench.user.owner,)
        )

        async def is_cut_off() -> bool:
            # What a statement time-out does to the statement, whenever one waits for the lock.
            async with await AsyncConnection.connect(dsn, autocommit=True) as conn:
                rows = await conn.execute(f"select pg_cancel_backend(pid) {_WAITING}")
                return bool(await rows.fetchall())

        for _ in range(3):
            await until(is_cut_off)
        assert not (await bench.view(job.job_id)).is_terminal
        await other.rollback()
        done = await bench.until_ended(job.job_id)
    assert done.status == "Success"
    assert len(bench.tools.calls) == 1
    assert await bench.wallet() == (to_micro(8), 0, to_micro(2))


async def test_without_a_connection_left_callers_are_told_and_workers_wait(
    bench: Bench, hub: Hub, dsn: str
) -> None:
    """The server takes no more sessions of the application's login."""
    login = psycopg.conninfo.conninfo_to_dict(dsn)["user"]
    admin = await AsyncConnection.connect(hub.dsn(hub.superuser, "postgres"), autocommit=True)
    intake = Intake(bench.jobs, bench.database)
    database = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    limit = psycopg.sql.SQL("alter database {} connection limit {}")

    async def allow(count: int) -> None:
        names = psycopg.sql.Identifier(str(database)), psycopg.sql.Literal(count)
        await admin.execute(limit.format(*names))

    assert login != hub.superuser
    try:
        await allow(0)
        await admin.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = %s and usename = %s",
            (database, login),
        )
        async with bench.working(poll_seconds=0.02) as worker:
            for _ in range(3):
                with pytest.raises(AppError) as caught:
                    await intake.submit(bench.request(kind="tool", definition=CALL))
                assert caught.value.code is Code.HUB_UNAVAILABLE
            await allow(-1)
            job = (await intake.submit(bench.request(kind="tool", definition=CALL))).job
            done = await bench.until_ended(job.job_id)
            assert not worker.is_ready or done.status == "Success"
    finally:
        await allow(-1)
        await admin.close()
    assert done.status == "Success"
    assert await bench.wallet() == (to_micro(8), 0, to_micro(2))


async def test_a_job_starts_though_every_listener_was_cut_off(bench: Bench, dsn: str) -> None:
    """The sessions that listen and notify are ended behind the worker's back."""
    async with bench.working():
        first = await bench.submit(kind="tool", definition=CALL)
        await bench.until_ended(first.job_id)
        async with await AsyncConnection.connect(dsn, autocommit=True) as conn:

            async def is_cut_off() -> bool:
                cut = await conn.execute(
                    "select pg_terminate_backend(pid) from pg_stat_activity"
                    " where datname = current_database() and query ilike 'listen%'"
                )
                return bool(await cut.fetchall())

            await until(is_cut_off)
        second = await bench.submit(kind="tool", definition=CALL)
        done = await bench.until_ended(second.job_id)
    assert done.status == "Success"
    assert await bench.wallet() == (to_micro(6), 0, to_micro(4))
