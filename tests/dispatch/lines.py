"""Processes' wake-ups over one bus, and waiting for them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import psycopg

from app.kernel.metrics import Metrics
from app.kernel.rediswakeups import RedisWakeups
from app.kernel.wakeups import Wakeups
from bench.redis_cluster import Cluster


@dataclass
class Lines:
    """Processes' wake-ups over one member; without a `dsn` they have nothing but Redis."""

    member: str
    dsn: str | None
    url: str = ""
    prefix: str = field(default_factory=lambda: f"t{uuid4().hex}")
    metrics: Metrics = field(default_factory=Metrics)

    def _one(self) -> Wakeups:
        if self.member == "postgresql":
            return Wakeups(self.dsn)
        return RedisWakeups(self.dsn, self.url, prefix=self.prefix, metrics=self.metrics)

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[list[Wakeups]]:
        """Two processes'."""
        made = [self._one() for _ in range(2)]
        for each in made:
            await each.start()
        try:
            yield made
        finally:
            for each in made:
                await each.close()

    async def cut(self, cluster: Cluster | None) -> None:
        """Break every connection that listens; what is sent meanwhile is lost."""
        if cluster is not None:
            for node in cluster.alive():
                node.ask("CLIENT", "KILL", "TYPE", "pubsub")
            return
        assert self.dsn is not None
        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as conn:
            await conn.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where query = 'listen uaol_wake' and datname = current_database()"
            )


async def until(condition: Callable[[], Any], seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def joined(here: Wakeups, there: Wakeups) -> None:
    """Wait until each hears the other, and has heard the last of what was asked here."""
    for one, other in ((here, there), (there, here)):
        heard: set[str] = set()
        leave = other.observe(heard.add)
        patience_s = 0.1
        async with asyncio.timeout(30):
            while not await _hears(one, heard, patience_s):
                patience_s = min(2 * patience_s, 3.0)
        leave()


async def _hears(one: Wakeups, heard: set[str], seconds: float) -> bool:
    """Ask once, and say whether that very question arrived in time."""
    one.wake(asked := f"are you there {uuid4().hex}")
    with contextlib.suppress(TimeoutError):
        await until(lambda: asked in heard, seconds)
    return asked in heard
