"""A single Redis, not in a cluster: limits and wake-ups over it, and what it is not."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio.cluster import RedisCluster

from app.kernel.clock import SystemClock
from app.kernel.errors import AppError, Code
from app.kernel.limitscripts import PROBE
from app.kernel.metrics import Metrics
from app.kernel.redisclient import RedisAwayError, RedisClient
from app.kernel.sharedlimits import SharedLimiter
from bench.redis_cluster import Cluster
from tests.dispatch.conftest import Crew
from tests.dispatch.lines import Lines, joined, until
from tests.orchestration.conftest import Bench

pytestmark = pytest.mark.anyio


@pytest.fixture
def server(single: Cluster) -> Any:
    yield single
    for node in single.nodes:
        if node.process.poll() is not None:
            single.restart(node)


@contextlib.asynccontextmanager
async def limiters(url: str, count: int) -> AsyncIterator[list[SharedLimiter]]:
    prefix = f"t{uuid4().hex}"
    made = [
        SharedLimiter(RedisClient(url), SystemClock(), Metrics(), prefix=prefix, replicas=2)
        for _ in range(count)
    ]
    try:
        yield made
    finally:
        for each in made:
            await each.close()


async def let_in(limiter: SharedLimiter, key: str, tries: int) -> int:
    """How many of so many tries get one of ten tokens."""
    found = 0
    for _ in range(tries):
        try:
            await limiter.take(key, 1, 10)
            found += 1
        except AppError as error:
            if error.code is not Code.RATE_LIMITED:
                raise
    return found


async def shared(one: SharedLimiter, other: SharedLimiter) -> None:
    """Both spend one bucket; on a busy machine a late answer makes them try another."""
    async with asyncio.timeout(30):
        while True:
            key = uuid4().hex
            found = await let_in(one, key, 6), await let_in(other, key, 6)
            if one.state().is_up and other.state().is_up and found == (6, 4):
                return


async def test_limits_hold_over_processes_and_through_a_restart(server: Cluster) -> None:
    async with limiters(server.url, 2) as (one, other):
        await shared(one, other)
        node = server.nodes[0]
        node.kill()
        assert await let_in(one, "b", 10) == 5
        assert not one.state().is_up
        server.restart(node)
        # It is asked again, and has forgotten the script.
        await shared(one, other)


async def test_wake_ups_reach_others_again_after_it_was_away(server: Cluster) -> None:
    async with Lines("redis", None, server.url).open() as (here, there):
        await joined(here, there)
        node = server.nodes[0]
        node.kill()
        await until(lambda: here.reason and there.reason)
        server.restart(node)
        await until(lambda: not here.reason and not there.reason)
        await joined(here, there)


async def test_jobs_come_through_it_again_after_it_was_killed(
    bench: Bench, server: Cluster
) -> None:
    crew = Crew(bench, "redis", server.url)
    async with crew.working() as one, crew.working() as other:
        await crew.submit(200)
        server.nodes[0].kill()
        await crew.load(lambda: one.was_down and other.was_down)
        server.restart(server.nodes[0])
        await crew.load(lambda: one.state().is_up and other.state().is_up)
        told = one.told + other.told
        await crew.load(lambda: one.told + other.told > told)
        await crew.until_ended()


async def test_several_that_are_no_cluster_are_refused(server: Cluster) -> None:
    url = f"{server.url},{server.url}"
    client = RedisClient(url, patience_s=20)
    with pytest.raises(RedisAwayError, match="of no cluster"):
        await client.run(PROBE, "a")
    await client.close()
    async with Lines("redis", None, url).open() as (here, there):
        await until(lambda: there.reason and "of no cluster" in str(here.reason))


async def test_one_that_is_away_is_passed_over(cluster: Cluster) -> None:
    cluster.wait_until_whole(replicas=0)
    client = RedisClient(f"redis://127.0.0.1:1,{cluster.url}", patience_s=20)
    try:
        assert await client.run(PROBE, "nothing") == 0
    finally:
        await client.close()


async def test_what_was_opened_after_a_fault_is_closed_too(cluster: Cluster) -> None:
    cluster.wait_until_whole(replicas=0)
    client = RedisClient(cluster.url, patience_s=20)
    assert await client.run(PROBE, "nothing") == 0
    library = await client.connected()
    assert isinstance(library, RedisCluster)
    nodes = library.get_nodes()
    # As a fault of one command ends all connections, and another opens one after that.
    await library.aclose()
    await nodes[0].execute_command("PING")
    assert [one.is_connected for one in nodes[0]._connections].count(True) == 1
    await client.close()
    assert not any(one.is_connected for node in nodes for one in node._connections)


@pytest.mark.parametrize("url", ["redis://h/1", "redis://h?db=2", "redis://h,redis://i:1/x"])
def test_more_than_addresses_is_refused(url: str) -> None:
    with pytest.raises(AppError, match="UAOL_REDIS_PREFIX") as caught:
        RedisClient(url)
    assert caught.value.code is Code.INVALID_INPUT
