"""Wake-ups between processes over each bus, with gaps, and over Redis when it goes away."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from app.kernel.bus import Bus
from app.kernel.metrics import Metrics
from app.kernel.rediswakeups import RedisWakeups
from app.kernel.wakeups import Wakeups
from bench.redis_cluster import Cluster

pytestmark = pytest.mark.anyio


@dataclass
class Lines:
    """Processes' wake-ups over one member."""

    member: str
    dsn: str
    url: str = ""
    prefix: str = field(default_factory=lambda: f"t{uuid4().hex}")
    metrics: Metrics = field(default_factory=Metrics)

    def make(self, **changes: Any) -> Wakeups:
        if self.member == "postgresql":
            return Wakeups(self.dsn)
        values: dict[str, Any] = {"dsn": self.dsn, "url": self.url, **changes}
        return RedisWakeups(**values, prefix=self.prefix, metrics=self.metrics)

    @contextlib.asynccontextmanager
    async def open(self, count: int = 2, **changes: Any) -> AsyncIterator[list[Wakeups]]:
        made = [self.make(**changes) for _ in range(count)]
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
        async with await psycopg.AsyncConnection.connect(self.dsn, autocommit=True) as conn:
            await conn.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where query = 'listen uaol_wake' and datname = current_database()"
            )


@pytest.fixture(params=["postgresql", "redis"])
def lines(request: pytest.FixtureRequest, dsn: str) -> Lines:
    if request.param == "postgresql":
        return Lines("postgresql", dsn)
    return Lines("redis", dsn, request.getfixturevalue("cluster").url)


@pytest.fixture
async def over_redis(dsn: str, cluster: Cluster) -> AsyncIterator[Lines]:
    yield Lines("redis", dsn, cluster.url)
    for node in cluster.nodes:
        if node.process.poll() is not None:
            cluster.restart(node)


async def until(condition: Any, seconds: float = 30, again: Any = lambda: None) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            again()
            await asyncio.sleep(0.02)


async def joined(here: Wakeups, there: Wakeups) -> None:
    """Wait until each hears the other."""
    for one, other in ((here, there), (there, here)):
        heard = asyncio.Event()
        leave = Bus(other).subscribe("are you there", heard.set)
        await until(heard.is_set, again=lambda one=one: one.wake("are you there"))
        leave()


async def test_processes_hear_of_each_other(lines: Lines) -> None:
    async with lines.open() as (here, there):
        await joined(here, there)
        heard: list[str] = []
        Bus(there).subscribe("job:1", lambda: heard.append("job:1"))
        ticket = there.ticket("job:2", "job:3")
        here.wake("job:2")
        assert await there.wait(ticket, 20)
        here.wake("job:4", is_local=True)
        here.wake("job:1")
        await until(lambda: heard)


async def test_a_crowd_of_topics_arrives_and_ones_own_are_not_echoed(lines: Lines) -> None:
    async with lines.open() as (here, there):
        await joined(here, there)
        own: list[str] = []
        heard: set[str] = set()
        here.observe(own.append)
        there.observe(heard.add)
        topics = [f"job:{number}" for number in range(2500)]
        for topic in topics:
            here.wake(topic)
        await until(lambda: heard.issuperset(topics))
        there.wake("last")
        await until(lambda: "last" in own)
        assert own == [*topics, "last"]


async def test_a_topic_woken_while_it_is_sent_is_sent_again(lines: Lines) -> None:
    async with lines.open() as (here, there):
        await joined(here, there)
        seen = 0
        for turn in range(50):
            ticket = there.ticket("job:1")
            here.wake("job:1")
            await asyncio.sleep(0)
            here.wake("job:1")
            assert await there.wait(ticket, 20)
            seen = turn
        assert seen == 49


async def test_after_a_gap_everybody_is_told_to_look_again(
    lines: Lines, request: pytest.FixtureRequest
) -> None:
    is_redis = lines.member == "redis"
    cluster = request.getfixturevalue("cluster") if is_redis else None
    async with lines.open() as (here, there):
        await joined(here, there)
        heard: list[str] = []
        bus = Bus(there)
        for topic in ("job:1", "job:2"):
            bus.subscribe(topic, lambda topic=topic: heard.append(topic))  # type: ignore[misc]
        ticket = there.ticket("job:3")
        await lines.cut(cluster)
        # Nothing wakes these topics: it is the gap that does.
        await until(lambda: len(heard) >= 2)
        assert set(heard) == {"job:1", "job:2"}
        assert await there.wait(ticket, 20)
        await joined(here, there)


async def test_without_redis_wake_ups_go_over_postgresql(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    lines = Lines("redis", dsn, "redis://me:hushhush@127.0.0.1:1")
    with caplog.at_level(logging.DEBUG):
        async with lines.open() as (here, there):
            await joined(here, there)
            assert isinstance(here, RedisWakeups)
            assert here.reason is not None
            assert b"bus_up 0.0" in lines.metrics.render()
    told = [each for each in caplog.records if "PostgreSQL" in each.getMessage()]
    assert len(told) == 2
    assert "hushhush" not in caplog.text + here.reason


async def test_a_killed_node_is_left_for_another(over_redis: Lines, cluster: Cluster) -> None:
    cluster.wait_until_whole()
    async with over_redis.open() as (here, there):
        await joined(here, there)
        assert isinstance(here, RedisWakeups)
        victim = here._hosts[0][1]
        next(node for node in cluster.nodes if node.port == victim).kill()
        heard = asyncio.Event()
        Bus(there).subscribe("job:1", heard.set)
        here.wake("job:1")
        # Sent over PostgreSQL, or told by the gap.
        await until(heard.is_set)
        await until(lambda: here.reason is None)
        await joined(here, there)
        assert b"bus_up 1.0" in over_redis.metrics.render()
