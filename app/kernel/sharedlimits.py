"""Rate limits that hold over all processes: token buckets in Redis.

How exact they are. Each token is taken from the shared bucket before it is spent, in one atomic
script by the node's clock, so the rate is never passed in the long run. A key that is used often
is asked for once per lease: a process takes tokens for up to a tenth of a second of the rate, at
most a tenth of the burst and never more than 64, and lets what it has not spent after 0.2 s lapse.
So in any span of time the calls let in pass rate and burst by at most one lease for each process;
leases of one token, below 1,200 a minute, pass them by nothing. All calls of a process that wait
for a key share one round trip.

While Redis is away nobody is shut out and nothing is unlimited: each process keeps to its part,
the limit divided by the number of processes (the last one that was counted, at least the
setting's; at least one call a minute). The parts are charged all along, so nobody gets another
burst at the switch. It is told by the state, the metric and one line of the log. A Redis that
loses its memory or fails over starts with what it still knows: at most one burst more.
"""

import asyncio
import contextlib
import contextvars
import logging
from collections import OrderedDict
from typing import NamedTuple

from app.kernel.clock import Clock
from app.kernel.ids import new_id
from app.kernel.limitscripts import ANNOUNCE, PROBE, TAKE
from app.kernel.metrics import Metrics
from app.kernel.ratelimit import Limiter, LimitsState, checked, limited
from app.kernel.redisclient import RedisAwayError, RedisClient

LEASE_S = 0.2
LEASE_MOST = 64
_BEAT_S = 2.0
_RETRY_S = 0.2
_GONE_MS = 10_000
_PROBES = 16
_MINUTE_US = 60_000_000.0
_log = logging.getLogger(__name__)


class _Rate(NamedTuple):
    per_minute: int
    burst: int

    @property
    def lease(self) -> int:
        """The most tokens that one process holds."""
        worth = int(self.per_minute / 60 * LEASE_S / 2)
        return max(1, min(LEASE_MOST, worth, self.burst // 10))

    def part(self, of: int) -> "_Rate":
        """The limit of one of so many processes, for itself."""
        return _Rate(max(1, self.per_minute // of), max(1, self.burst // of))


class _Lease:
    """What this process holds of a bucket, and what it knows of it."""

    __slots__ = ("asking", "good_until", "left", "rate", "shut_until", "size", "waiting")

    def __init__(self, rate: _Rate) -> None:
        self.rate = rate
        self.left = 0
        self.good_until = 0.0
        # Nobody gets a token before then: arrival times only move on.
        self.shut_until = 0.0
        self.size = 1
        self.waiting = 0
        self.asking: asyncio.Task[None] | None = None

    def wanted(self, now: float) -> int:
        """How many to ask for: twice as many while leases are spent in time, else fewer."""
        if now >= self.good_until:
            self.size = self.size - self.left if self.left else self.size // 2
        elif self.left == 0:
            self.size *= 2
        self.left = 0
        self.size = max(1, min(self.size, self.rate.lease))
        return max(self.size, self.waiting)


class SharedLimiter(Limiter):
    """One instance a process. What it inherits is its part of each limit, for when it is alone."""

    def __init__(
        self,
        redis: RedisClient,
        clock: Clock,
        metrics: Metrics,
        *,
        prefix: str,
        replicas: int,
        max_keys: int = 50_000,
    ) -> None:
        """`replicas` is the least number of processes to assume while Redis is away."""
        super().__init__(clock, max_keys=max_keys)
        self._redis = redis
        self._metrics = metrics
        self._prefix = prefix
        self._replicas = self._least = max(1, replicas)
        self._name = str(new_id())
        self._leases: OrderedDict[str, _Lease] = OrderedDict()
        self._reason: str | None = None
        self._failed: dict[str, None] = {}
        self._keeper: asyncio.Task[None] | None = None
        metrics.observe_limits(is_up=True)

    async def take(self, key: str, per_minute: int, burst: int | None = None) -> None:
        """See `Limiter.take`; the limit is that of all processes together."""
        rate = _Rate(per_minute, checked(per_minute, burst))
        if self._keeper is None:
            # Not in the context of the call that happens to be the first.
            self._keeper = asyncio.create_task(
                self._keep_up(), name="limits-redis", context=contextvars.Context()
            )
        lease = self._lease(key, rate)
        while self._reason is None:
            now = self._clock.monotonic()
            if lease.left and now < lease.good_until:
                lease.left -= 1
                return
            if now < lease.shut_until:
                raise limited(per_minute, lease.shut_until - now)
            await self._more(key, lease)
        part = rate.part(self._replicas)
        self._spend(key, *part, told=per_minute)

    def state(self) -> LimitsState:
        """Whether limits hold over all processes, or each keeps to its part."""
        return LimitsState("redis", self._reason is None, self._reason)

    async def close(self) -> None:
        """Stop, and close the connections; nobody may take after that."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        asking = [lease.asking for lease in self._leases.values() if lease.asking is not None]
        await asyncio.gather(*asking, return_exceptions=True)
        with contextlib.suppress(RedisAwayError):
            await self._redis.close()

    def bucket(self, key: str) -> str:
        """The name of a key's bucket; the braces choose its slot."""
        return f"{self._prefix}:limit:{{{key}}}"

    def _lease(self, key: str, rate: _Rate) -> _Lease:
        lease = self._leases.get(key)
        if lease is None or lease.rate != rate:
            lease = self._leases[key] = _Lease(rate)
            if len(self._leases) > self._max_keys:
                self._leases.popitem(last=False)
        self._leases.move_to_end(key)
        return lease

    async def _more(self, key: str, lease: _Lease) -> None:
        """Wait for the round trip that is under way for this key, or for a new one."""
        lease.waiting += 1
        try:
            if lease.asking is None:
                # A task: the one who asked may go away, the others still wait.
                lease.asking = asyncio.create_task(self._ask(key, lease))
            await asyncio.shield(lease.asking)
        finally:
            lease.waiting -= 1

    async def _ask(self, key: str, lease: _Lease) -> None:
        rate, name = lease.rate, self.bucket(key)
        want = lease.wanted(self._clock.monotonic())
        try:
            interval_us = _MINUTE_US / rate.per_minute
            given, wait_us = await self._redis.run(TAKE, name, interval_us, rate.burst, want)
        except RedisAwayError as error:
            if len(self._failed) < _PROBES:
                self._failed[name] = None
            self._note(str(error))
        else:
            now = self._clock.monotonic()
            lease.left, lease.good_until = given, now + LEASE_S
            if given < want:
                lease.shut_until = now + wait_us / 1e6
            if given:
                self._charge(key, given, *rate.part(self._replicas))
        finally:
            lease.asking = None

    async def _keep_up(self) -> None:
        """Count the processes; while Redis is away, look whether it is back."""
        task = asyncio.current_task()
        # The client may turn a cancel into an error of its own; the task's count still knows.
        while task is None or not task.cancelling():
            try:
                count = await self._redis.run(
                    ANNOUNCE, self.bucket("replicas"), self._name, _GONE_MS
                )
                for name in tuple(self._failed):
                    await self._redis.run(PROBE, name)
            except RedisAwayError as error:
                self._note(str(error))
            else:
                self._replicas = max(self._least, int(count))
                self._failed.clear()
                self._note(None)
            await asyncio.sleep(_BEAT_S if self._reason is None else _RETRY_S)

    def _note(self, reason: str | None) -> None:
        was_up, self._reason = self._reason is None, reason
        if was_up == (reason is None):
            return
        self._metrics.observe_limits(is_up=reason is None)
        if reason is None:
            _log.warning("limits hold over all processes again")
        else:
            _log.warning(
                "limits: Redis is away (%s); this process keeps to 1/%s", reason, self._replicas
            )
