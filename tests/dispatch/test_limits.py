"""Rate limits of several processes over a real Redis Cluster, with and without it."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest

from app.kernel.clock import Clock, SystemClock
from app.kernel.errors import AppError, Code
from app.kernel.limitscripts import TAKE
from app.kernel.metrics import Metrics
from app.kernel.redisclient import RedisAwayError, RedisClient, Script
from app.kernel.sharedlimits import LEASE_MOST, SharedLimiter
from bench.redis_cluster import Cluster
from tests.manual_clock import ManualClock

pytestmark = pytest.mark.anyio
NOWHERE = "redis://127.0.0.1:1"


class Counted(RedisClient):
    """A client that counts takes."""

    takes = 0

    async def run(self, script: Script, *given: str | int | float) -> Any:
        self.takes += script is TAKE
        return await super().run(script, *given)


@dataclass
class Replicas:
    """Processes' limiters, under a prefix of this test's own."""

    url: str
    prefix: str = field(default_factory=lambda: f"t{uuid4().hex}")
    made: list[SharedLimiter] = field(default_factory=list)

    def one(
        self,
        *,
        replicas: int = 2,
        url: str | None = None,
        patience_s: float = 30.0,
        clock: Clock | None = None,
    ) -> tuple[SharedLimiter, Counted]:
        """One that waits for a Redis that is there, however busy the machine is."""
        client = Counted(url or self.url, patience_s=patience_s)
        limiter = SharedLimiter(
            client, clock or SystemClock(), Metrics(), prefix=self.prefix, replicas=replicas
        )
        self.made.append(limiter)
        return limiter, client

    def pair(self) -> list[SharedLimiter]:
        return [self.one()[0] for _ in range(2)]


@pytest.fixture
async def replicas(cluster: Cluster) -> AsyncIterator[Replicas]:
    cluster.wait_until_whole(replicas=0)
    made = Replicas(cluster.url)
    yield made
    for limiter in made.made:
        await limiter.close()
    for node in cluster.nodes:
        if node.process.poll() is not None:
            cluster.restart(node)


async def is_let_in(limiter: SharedLimiter, key: str, rate: int, burst: int | None = None) -> bool:
    try:
        await limiter.take(key, rate, burst)
    except AppError as error:
        if error.code is Code.RATE_LIMITED and error.details["per_minute"] == rate:
            return False
        raise
    return True


@contextlib.contextmanager
def without_election(cluster: Cluster) -> Iterator[None]:
    """No replica takes over meanwhile, however long that takes."""

    def let(is_elected: bool) -> None:
        for node in cluster.alive():
            value = "no" if is_elected else "yes"
            node.ask("CONFIG", "SET", "cluster-replica-no-failover", value)

    let(False)
    try:
        yield
    finally:
        let(True)


def age(cluster: Cluster, name: str, seconds: float) -> None:
    """Let a bucket be as it is after so many seconds."""
    node = cluster.master_of(name)
    node.ask("SET", name, float(node.ask("GET", name)) - seconds * 1e6, "KEEPTTL")


async def until(condition: Any, seconds: float = 30) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)


def shown(limiter: SharedLimiter) -> bytes:
    return limiter._metrics.render()


async def test_two_processes_have_one_bucket(replicas: Replicas, cluster: Cluster) -> None:
    pair = replicas.pair()
    # One a minute: nothing comes in while the test runs.
    found = [await is_let_in(pair[turn % 2], "a", 1, 10) for turn in range(14)]
    assert found == [True] * 10 + [False] * 4
    third, _ = replicas.one()
    with pytest.raises(AppError) as caught:
        await third.take("a", 1, 10)
    wait = caught.value.details["retry_after_s"]
    assert 50 < wait <= 60
    age(cluster, third.bucket("a"), wait)
    fourth, _ = replicas.one()
    assert [await is_let_in(fourth, "a", 1, 10) for _ in range(2)] == [True, False]


async def test_keys_do_not_share_a_bucket(replicas: Replicas) -> None:
    one, other = replicas.pair()
    assert await is_let_in(one, "a", 1)
    assert await is_let_in(other, "b", 1)
    assert not await is_let_in(one, "b", 1)


async def test_a_crowd_gets_the_burst_in_few_round_trips(replicas: Replicas) -> None:
    (one, first), (other, second) = replicas.one(), replicas.one()
    rate, burst = 60_000, 1000
    began = time.monotonic()

    async def caller(limiter: SharedLimiter) -> int:
        return sum([await is_let_in(limiter, "a", rate, burst) for _ in range(100)])

    let_in = sum(await asyncio.gather(*(caller(each) for each in (one, other) * 20)))
    grown = rate / 60 * (time.monotonic() - began)
    # What the docstring promises, in both directions: leases may lie unspent at the end.
    assert burst - 2 * LEASE_MOST <= let_in <= burst + grown + 2 * LEASE_MOST
    assert first.takes + second.takes < let_in / 4


async def test_a_steady_caller_asks_once_a_lease(replicas: Replicas) -> None:
    one, client = replicas.one()
    for _ in range(500):
        await one.take("a", 600_000)
    assert client.takes < 100
    assert one._leases["a"].size <= LEASE_MOST


async def test_a_low_rate_is_never_leased(replicas: Replicas) -> None:
    one, client = replicas.one()
    for _ in range(20):
        await one.take("a", 600)
    assert client.takes == 20


async def test_who_is_refused_asks_nobody_until_it_may_be_let_in(replicas: Replicas) -> None:
    one, client = replicas.one()
    assert [await is_let_in(one, "a", 1) for _ in range(50)] == [True] + [False] * 49
    assert client.takes == 2


async def test_a_waiting_caller_that_leaves_disturbs_nobody(replicas: Replicas) -> None:
    one, client = replicas.one()
    crowd = [asyncio.create_task(one.take("a", 1, 20)) for _ in range(20)]
    await asyncio.sleep(0)
    crowd[0].cancel()
    found = await asyncio.gather(*crowd, return_exceptions=True)
    assert isinstance(found[0], asyncio.CancelledError)
    assert found[1:] == [None] * 19
    assert client.takes <= 2


async def test_buckets_have_slots_of_their_own_and_go_when_full(
    replicas: Replicas, cluster: Cluster
) -> None:
    one, _ = replicas.one()
    for number in range(30):
        await one.take(f"calls:{number}", 60, 5)
    nodes = set()
    for number in range(30):
        name = one.bucket(f"calls:{number}")
        node = cluster.master_of(name)
        nodes.add(node.port)
        assert node.ask("CLUSTER", "KEYSLOT", name) == node.ask(
            "CLUSTER", "KEYSLOT", f"calls:{number}"
        )
        assert node.ask("PTTL", name) <= 1002
    assert len(nodes) == 3


async def test_a_node_whose_clock_was_ahead_shuts_nobody_out(
    replicas: Replicas, cluster: Cluster
) -> None:
    one, _ = replicas.one()
    name = one.bucket("a")
    node = cluster.master_of(name)
    seconds, _micros = node.ask("TIME")
    node.ask("SET", name, (int(seconds) + 86_400) * 1_000_000, "EX", 90_000)
    with pytest.raises(AppError) as caught:
        await one.take("a", 60, 5)
    assert caught.value.details["retry_after_s"] <= 1.0
    node.ask("SET", name, "what is this")
    other, _ = replicas.one()
    assert await is_let_in(other, "a", 60, 5)


async def test_without_redis_each_keeps_to_its_part_and_says_so(
    replicas: Replicas, caplog: pytest.LogCaptureFixture
) -> None:
    one, client = replicas.one(url=NOWHERE, replicas=4, clock=ManualClock())
    with caplog.at_level(logging.WARNING):
        found = [await is_let_in(one, "a", 40) for _ in range(15)]
        found += [await is_let_in(one, "b", 1) for _ in range(2)]
    assert found == [True] * 10 + [False] * 5 + [True, False]
    assert client.takes <= 1
    state = one.state()
    assert (state.name, state.is_up) == ("redis", False)
    assert state.reason is not None
    assert b"limits_up 0.0" in shown(one)
    said = [each.getMessage() for each in caplog.records if each.name.endswith("sharedlimits")]
    assert len(said) == 1
    assert "keeps to 1/4" in said[0]


async def test_a_password_is_told_to_nobody(caplog: pytest.LogCaptureFixture) -> None:
    replicas = Replicas("redis://me:hushhush@127.0.0.1:1")
    one, _ = replicas.one()
    with caplog.at_level(logging.DEBUG):
        await one.take("a", 60)
    await one.close()
    assert "hushhush" not in caplog.text + str(one.state())


async def test_a_killed_master_costs_no_call_and_gives_no_second_burst(
    replicas: Replicas, cluster: Cluster
) -> None:
    one, other = replicas.pair()
    # Both are counted, so each one's part is a half.
    for each in (one, other):
        await each.take("warm", 60)
    found = [await is_let_in(one, "a", 1, 10) for _ in range(6)]
    assert all(found)
    cluster.wait_until_whole(replicas=3)
    with without_election(cluster):
        cluster.master_of(one.bucket("a")).kill()
        # What it spent of the shared bucket is more than its part: nothing is left for it.
        assert not await is_let_in(one, "a", 1, 10)
        assert not one.state().is_up
        found = [await is_let_in(other, "a", 1, 10) for _ in range(8)]
        assert found == [True] * 5 + [False] * 3

    async def is_back() -> bool:
        return one.state().is_up and other.state().is_up

    await until(is_back)
    assert b"limits_up 1.0" in shown(one)
    third, _ = replicas.one()
    let_in = sum([await is_let_in(third, "a", 1, 10) for _ in range(12)])
    # The replica that took over knows the six, or at worst none of them.
    assert 4 <= let_in <= 10


async def test_a_master_that_hangs_is_waited_for_once(replicas: Replicas, cluster: Cluster) -> None:
    one, client = replicas.one(patience_s=1.0)
    await one.take("a", 600)
    node = cluster.master_of(one.bucket("a"))
    with without_election(cluster):
        node.pause()
        try:
            for _ in range(30):
                with contextlib.suppress(AppError):
                    await one.take("a", 600)
            assert not one.state().is_up
            assert client.takes <= 3
        finally:
            node.resume()

    async def is_back() -> bool:
        return one.state().is_up

    await until(is_back)


async def test_it_ends_even_where_the_client_loses_a_cancel() -> None:
    asked = asyncio.Event()

    class Deaf(RedisClient):
        async def run(self, script: Script, *given: str | int | float) -> Any:
            if script is TAKE:
                return [1, 0]
            asked.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError as error:
                raise RedisAwayError("lost") from error

    limiter = SharedLimiter(Deaf(NOWHERE), SystemClock(), Metrics(), prefix="t", replicas=1)
    await limiter.take("a", 60)
    await asked.wait()
    async with asyncio.timeout(30):
        await limiter.close()


async def test_processes_are_counted(replicas: Replicas) -> None:
    made = [replicas.one(replicas=1)[0] for _ in range(3)]
    for each in made:
        await each.take("a", 60)
    last, _ = replicas.one(replicas=1)
    await last.take("a", 60)

    async def has_counted() -> bool:
        return last._replicas == 4

    await until(has_counted)
