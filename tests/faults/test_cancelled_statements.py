"""A task that is cancelled in the middle of a statement leaves no connection out of step.

The next transaction on that connection must get the answers to its own statements, and see
nothing of what the cancelled one began.
"""

import asyncio
import contextlib
import random

import pytest

from app.kernel.db import Database
from app.kernel.principal import SERVICE
from tests.faults.summary import SECONDS, record

pytestmark = pytest.mark.anyio

SEED = 20250313
ROUNDS = 1000 if SECONDS else 100


async def work(database: Database, number: int) -> tuple[int, int]:
    """Statements of both ways, whose answers tell whose they are."""
    async with database.begin(SERVICE) as uow:
        first = (await uow.execute("select cast(:n as int)", {"n": number})).scalar_one()
        ((second,),) = await uow.fetch("select $1::int", number)
        return int(first), int(second)


async def test_a_cancelled_task_leaves_its_connection_in_step(dsn: str) -> None:
    chance, cancelled = random.Random(SEED), 0
    database = Database(dsn, pool_size=2, wait_s=20)
    try:
        for number in range(ROUNDS):
            tasks = [asyncio.create_task(work(database, n)) for n in (2 * number, 2 * number + 1)]
            for _ in range(chance.randrange(25)):
                await asyncio.sleep(0)
            if chance.random() < 0.5:
                await asyncio.sleep(chance.random() / 300)
            tasks[0].cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await tasks[0]
            cancelled += tasks[0].cancelled()
            assert await tasks[1] == (2 * number + 1,) * 2
    finally:
        await database.close()
    assert cancelled > ROUNDS / 10
    record("cancelled_statements", rounds=ROUNDS, cancelled=cancelled)
