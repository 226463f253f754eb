"""What a process remembers of topics."""

import asyncio
from typing import Any

import psycopg
import pytest
from psycopg import AsyncConnection

from app.kernel.wakeups import Wakeups

pytestmark = pytest.mark.anyio


async def test_a_topic_whose_ticket_was_given_up_is_forgotten() -> None:
    wakeups = Wakeups(None)
    for number in range(10_000):
        wakeups.ticket(f"job:{number}")
    assert not wakeups.has_followers
    assert len(wakeups._tickets) < 1000


async def test_a_ticket_that_is_held_outlives_those_given_up() -> None:
    wakeups = Wakeups(None)
    held = wakeups.ticket("job:held")
    for number in range(1000):
        wakeups.ticket(f"job:{number}")
    assert wakeups.has_followers
    wakeups.wake("job:held")
    assert await wakeups.wait(held, 0.1)


class Slow(Wakeups):
    """Connects when it may; the first attempts fail, as many as told."""

    def __init__(self, dsn: str, fails: int = 0) -> None:
        super().__init__(dsn)
        self.may_connect = asyncio.Event()
        self._fails = fails

    async def _connect(self) -> AsyncConnection[Any]:
        await self.may_connect.wait()
        if self._fails:
            self._fails -= 1
            raise psycopg.OperationalError("away")
        return await super()._connect()


async def heard(wakeups: Wakeups, dsn: str) -> None:
    """Another process's wake-up arrives."""
    async with await AsyncConnection.connect(dsn, autocommit=True) as conn:
        ticket = wakeups.ticket("topic")
        await conn.execute("select pg_notify('uaol_wake', 'topic')")
        assert await wakeups.wait(ticket, 20)


async def test_who_follows_after_the_start_misses_nothing(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.kernel.wakeups._START_S", 60.0)
    wakeups = Slow(dsn)
    starting = asyncio.create_task(wakeups.start())
    try:
        await asyncio.wait({starting}, timeout=0.05)
        assert not starting.done()
        wakeups.may_connect.set()
        await starting
        await heard(wakeups, dsn)
    finally:
        await wakeups.close()


async def test_a_start_that_fails_is_made_up_for(dsn: str) -> None:
    wakeups = Slow(dsn, fails=2)
    wakeups.may_connect.set()
    await wakeups.start()
    try:
        # Woken by nobody: what was sent before it listened is not known.
        assert await wakeups.wait(wakeups.ticket("topic"), 20)
        await heard(wakeups, dsn)
    finally:
        await wakeups.close()
