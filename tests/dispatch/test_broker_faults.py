"""The broker fails in every way it can: that costs time, never a job or a credit."""

import asyncio
import random

import pytest
import redis

from app.orchestration.dispatch import broker as broker_module
from app.orchestration.dispatch.broker import Broker
from bench.redis_cluster import Cluster
from tests.dispatch.conftest import Crew
from tests.dispatch.relay_process import killed_relay

pytestmark = pytest.mark.anyio


def _is_through(*watched: "object") -> bool:
    """Whether the broker failed everyone and works for everyone again."""
    return all(one.was_down and one.state().is_up for one in watched)  # type: ignore[attr-defined]


async def test_a_master_is_killed_under_load(over_redis: Crew, cluster: Cluster) -> None:
    broker = over_redis.broker()
    async with over_redis.working() as one, over_redis.working() as other:
        await over_redis.submit(200)
        cluster.master_of(broker.stream("tool", 0)).kill()
        await over_redis.load(lambda: _is_through(one, other))
        told = one.told + other.told
        await over_redis.load(lambda: one.told + other.told > told)
        await over_redis.until_ended()
    assert one.left_open + other.left_open > 0


async def test_a_node_is_stopped_under_load_and_goes_on(over_redis: Crew, cluster: Cluster) -> None:
    node = cluster.master_of(over_redis.broker().stream("tool", 1))
    async with over_redis.working() as one, over_redis.working() as other:
        await over_redis.submit(200)
        node.pause()
        try:
            await over_redis.load(lambda: one.was_down and other.was_down)
            assert one.reason is not None
        finally:
            node.resume()
        await over_redis.load(lambda: _is_through(one, other))
        await over_redis.until_ended()


async def test_it_is_wiped_empty_under_load(over_redis: Crew, cluster: Cluster) -> None:
    async with over_redis.working(lane_capacity=50) as one:
        for _ in range(5):
            await over_redis.submit(200)
            cluster.wipe()
        told = one.told
        await over_redis.load(lambda: one.told > told + 200)
        await over_redis.until_ended()


async def test_it_is_away_from_the_start(over_redis: Crew) -> None:
    over_redis.url = "redis://127.0.0.1:1"
    async with over_redis.working(poll_seconds=0.1) as one:
        await over_redis.submit(100)
        await over_redis.until_ended()
        state = one.state()
    assert (state.name, state.is_up) == ("redis", False)
    assert state.reason
    assert b"\ndispatch_up 0.0" in over_redis.metrics.render()


@pytest.mark.usefixtures("patient")
async def test_messages_doubled_and_reordered(over_redis: Crew) -> None:
    ids = await over_redis.submit(60)
    broker = over_redis.broker()
    many = [[job_id] for job_id in ids * 3]
    random.Random(7).shuffle(many)
    await broker.publish({"tool": many})
    await broker.publish({"tool": [ids[:20], ids[10:40], ids]})
    await broker.close()
    async with over_redis.working(lane_capacity=20), over_redis.working(lane_capacity=20):
        await over_redis.until_ended()


async def test_messages_lost_are_published_again(over_redis: Crew, cluster: Cluster) -> None:
    over_redis.bench.tools.hold()
    relay = over_redis.dispatcher(again_s=0.3)
    async with over_redis.working(relay, lane_capacity=1):
        await over_redis.submit(30)
        await _until(lambda: _entries(over_redis, cluster) >= 20)
        for stream in _streams(over_redis):
            cluster.master_of(stream).ask("XTRIM", stream, "MAXLEN", 0)
        over_redis.bench.tools.go()
        await over_redis.until_ended()


@pytest.mark.usefixtures("patient")
async def test_messages_of_a_dead_consumer_are_taken_over(over_redis: Crew) -> None:
    """Without a relay: nobody else would publish them again."""
    broker = over_redis.broker()
    ids = await over_redis.submit(40)
    await broker.publish({"tool": [[job_id] for job_id in ids]})
    read = [m for p in range(broker.partitions) for m in await broker.read("tool", p, "dead", 100)]
    assert len(read) == 40
    heir = over_redis.dispatcher(again_s=0.2, kinds=())
    async with over_redis.working(heir):
        await over_redis.until_ended()
    assert heir.left_open == 0
    await broker.close()


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_the_relay_is_killed_around_publishing(over_redis: Crew, moment: str) -> None:
    """After the commit and before it publishes; after it has, before it notes that."""
    await over_redis.submit(50)
    await asyncio.to_thread(killed_relay, over_redis, moment)
    async with over_redis.working() as one:
        await over_redis.until_ended()
        assert (one.left_open, one.was_down) == (0, False)


@pytest.mark.usefixtures("patient")
async def test_streams_are_left_empty_and_never_grow_past_a_length(
    over_redis: Crew, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with over_redis.working():
        await over_redis.submit(300)
        await over_redis.until_ended()
        await _until(lambda: _entries(over_redis, cluster) == 0)
    monkeypatch.setattr(broker_module, "_LONGEST", 100)
    broker = over_redis.broker()
    for _ in range(5):
        await broker.publish({"unread": [[job_id] for job_id in over_redis.given]})
    stream = broker.stream("unread", 0)
    assert cluster.master_of(stream).ask("XLEN", stream) < 250
    await broker.close()


def _streams(crew: Crew) -> list[str]:
    broker = Broker(crew.url, crew.prefix)
    return [broker.stream("tool", partition) for partition in range(broker.partitions)]


def _entries(crew: Crew, cluster: Cluster) -> int:
    return sum(int(cluster.master_of(one).ask("XLEN", one)) for one in _streams(crew))


async def _until(condition: "object") -> None:
    async with asyncio.timeout(30):
        while True:
            try:
                if condition():  # type: ignore[operator]
                    return
            except redis.RedisError:
                pass
            await asyncio.sleep(0.02)
