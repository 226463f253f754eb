"""kill -9 in the middle of charging: what was durable stays, the rest goes back, nothing twice."""

import asyncio
import contextlib
import sys
from uuid import UUID

import psycopg
import pytest

from app.kernel.db import Database
from app.kernel.embedded import Hub
from tests.billing.blocks.ledger import PRICE, expire, user_with, wallet, written

pytestmark = pytest.mark.anyio
GRANTED = 1_000_000
NAME = "killed"


async def _charge_until_killed(dsn: str, user: UUID, lines: int) -> tuple[list[UUID], int]:
    """The calls that were answered, and how many of them had been reported durable."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.billing.blocks.killed_process",
        dsn,
        str(user),
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    answers, durable = [], 0
    try:
        async with asyncio.timeout(60):
            for number in range(1_000_000):
                kind, _, value = (await process.stdout.readline()).decode().strip().partition(" ")
                if kind == "answered":
                    answers.append(UUID(value))
                elif kind == "durable":
                    durable = int(value)
                if number == lines:
                    process.kill()
                if not kind:
                    break
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    return answers, durable


async def _until_left(dsn: str) -> None:
    """What the process had asked for when it was killed is done or undone a moment later."""
    query = """
    select 1 from pg_stat_activity
    where datname = current_database() and application_name = %s
    """
    with psycopg.connect(dsn, autocommit=True) as admin:
        async with asyncio.timeout(30):
            while admin.execute(query, (NAME,)).fetchone() is not None:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("lines", [10, 60, 203])
async def test_kill_9(dsn: str, hub: Hub, clone: str, database: Database, lines: int) -> None:
    user = await user_with(database, GRANTED)
    named = f"{dsn}&application_name={NAME}"
    answers, durable = await _charge_until_killed(named, user, lines)
    await _until_left(hub.dsn(hub.superuser, clone))
    held = (await wallet(database, user)).held_micro
    assert await expire(database) == (1 if held else 0)
    found, after = await written(database), await wallet(database, user)
    assert durable >= 7
    assert set(answers[:durable]) <= set(found.charged)
    # One call may have been charged whose line was never read.
    assert len(set(found.charged) - set(answers)) <= 1
    assert {str(call) for call in found.charged} == found.metered
    assert after.captured_micro == PRICE * len(found.charged)
    assert (after.available_micro, after.held_micro) == (GRANTED - after.captured_micro, 0)
