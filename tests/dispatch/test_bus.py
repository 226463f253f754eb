"""Wake-ups between processes over each bus, with gaps, and over Redis when it goes away."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from app.kernel.bus import Bus
from app.kernel.rediswakeups import RedisWakeups
from bench.redis_cluster import Cluster
from tests.dispatch.lines import Lines, joined, until

pytestmark = pytest.mark.anyio


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
        await until(lambda: b"bus_up 1.0" in over_redis.metrics.render())
