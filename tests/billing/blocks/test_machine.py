"""Any history of calls, flushes, crashes and lost commits keeps the ledger's promises.

Two processes lease from one wallet; each may die at any moment without a word.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.billing import Blocks, Promise
from app.kernel.clock import SystemClock
from app.kernel.db import Database
from app.kernel.errors import AppError, Code
from tests.billing.blocks.ledger import (
    PRICE,
    STILL,
    answered,
    expire,
    failed,
    user_with,
    wallet,
    written,
)
from tests.billing.blocks.test_blocks import Torn
from tests.books import assert_balanced

GRANTED = 12 * PRICE
ACTIONS = ("promise", "promise", "answer", "answer", "fail", "flush", "crash", "close", "tear",
           "tear_late", "expire")  # fmt: skip
HISTORIES = st.lists(
    st.tuples(st.sampled_from(ACTIONS), st.integers(0, 1), st.integers(1, 4)), max_size=25
)


async def _quietly(work: Coroutine[Any, Any, Any]) -> Any:
    """What `work` returns; None where the wallet or the database refuses."""
    found = (await asyncio.gather(work, return_exceptions=True))[0]
    if isinstance(found, AppError):
        assert found.code in (Code.INSUFFICIENT_CREDITS, Code.HUB_UNAVAILABLE)
        return None
    assert not isinstance(found, BaseException), found
    return found


class Process:
    """One process that leases; a crash forgets all it knew."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.begin_again()

    def begin_again(self) -> None:
        self.torn = Torn(self._database, is_committed=True)
        self.blocks = Blocks(self.torn, SystemClock(), STILL)
        self.open: list[Promise] = []


class History:
    """Plays actions; notes what callers were told."""

    def __init__(self, database: Database, user: UUID) -> None:
        self._database = database
        self._user = user
        self._processes = [Process(database), Process(database)]
        self.told: dict[UUID, int] = {}
        self.durable: set[UUID] = set()

    async def play(self, action: str, which: int, size: int) -> None:
        process = self._processes[which]
        blocks, is_open = process.blocks, bool(process.open)
        if action == "promise":
            await self._promise(process, size * PRICE)
        elif action == "answer" and is_open:
            promise = process.open.pop()
            self.told[promise.call_id] = answered(blocks, promise)
        elif action == "fail" and is_open:
            failed(blocks, process.open.pop())
        elif action in ("flush", "close"):
            await _quietly(blocks.flush() if action == "flush" else blocks.close())
        else:
            await self._befall(process, action)

    async def _befall(self, process: Process, action: str) -> None:
        if action == "crash":
            process.begin_again()
        elif action == "expire":
            await expire(self._database)
        elif action.startswith("tear"):
            process.torn._is_committed = action == "tear_late"
            process.torn.times = 1

    async def _promise(self, process: Process, amount: int) -> None:
        if (promise := await _quietly(process.blocks.promise(self._user, amount))) is not None:
            process.open.append(promise)

    async def end(self) -> None:
        for process in self._processes:
            process.torn.times = 0
            await process.blocks.close()
        await expire(self._database)


async def _check(dsn: str, actions: list[tuple[str, int, int]]) -> None:
    database = Database(dsn, pool_size=2)
    try:
        user = await user_with(database, GRANTED)
        history = History(database, user)
        for action, which, size in actions:
            await history.play(action, which, size)
            await assert_balanced(database)
        await history.end()
        found, after = await written(database), await wallet(database, user)
        mine = {call: amount for call, amount in found.charged.items() if call in history.told}
        assert after.captured_micro == sum(mine.values()) <= GRANTED
        assert after.available_micro == GRANTED - after.captured_micro
        assert after.held_micro == 0
        # Nobody is charged more than they were told, and nothing that was not answered.
        assert all(amount == history.told[call] for call, amount in mine.items())
        if not {"crash", "expire"} & {action for action, _, _ in actions}:
            assert mine == {call: amount for call, amount in history.told.items() if amount}
    finally:
        await database.close()


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(actions=HISTORIES)
def test_the_books_balance_after_any_history(dsn: str, actions: list[tuple[str, int, int]]) -> None:
    asyncio.run(_check(dsn, actions))
