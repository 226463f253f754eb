"""Rate limits in memory: a token bucket a key, kept as one number, for a bounded number of keys.

The bucket is kept as the "theoretical arrival time" of the generic cell rate algorithm (ITU-T
I.371, annex A), which accepts exactly what a token bucket accepts. Limits hold per process; over
several they do with `app.kernel.sharedlimits`.
"""

import math
from collections import OrderedDict
from typing import NamedTuple

from app.kernel.clock import Clock
from app.kernel.errors import AppError, Code

# Far below any interval in use, far above the rounding of a monotonic clock in seconds.
_ROUNDING_S = 1e-9


class LimitsState(NamedTuple):
    """Who keeps the limits (`memory`, `redis`), whether it answers, and why it does not."""

    name: str
    is_up: bool
    reason: str | None = None


class Limiter:
    """Limits per key. Past `max_keys` the key that was idle longest is forgotten."""

    def __init__(self, clock: Clock, *, max_keys: int = 50_000) -> None:
        self._clock = clock
        self._max_keys = max_keys
        self._arrivals: OrderedDict[str, float] = OrderedDict()

    async def take(self, key: str, per_minute: int, burst: int | None = None) -> None:
        """Spend one call of `key`, at `per_minute` in the long run and at most `burst` at once.

        `burst` is `per_minute` unless given. Raises `rate_limited` with `retry_after_s`
        (seconds); a refused call spends nothing.
        """
        self._spend(key, per_minute, checked(per_minute, burst), told=per_minute)

    def state(self) -> LimitsState:
        """How the limits are kept now."""
        return LimitsState("memory", is_up=True)

    async def close(self) -> None:
        """End what runs for the limits, if anything does."""

    def _spend(self, key: str, per_minute: int, burst: int, *, told: int) -> None:
        """As `take`; a refusal names `told` as the limit."""
        interval = 60.0 / per_minute
        now = self._clock.monotonic()
        arrival = max(self._arrivals.get(key, now), now)
        wait = arrival - now - interval * (burst - 1)
        if wait > _ROUNDING_S:
            raise limited(told, wait)
        self._keep(key, arrival + interval)

    def _charge(self, key: str, count: int, per_minute: int, burst: int) -> None:
        """Spend `count` calls that were let in already, as far as the bucket goes."""
        interval = 60.0 / per_minute
        now = self._clock.monotonic()
        arrival = max(self._arrivals.get(key, now), now) + count * interval
        self._keep(key, min(arrival, now + burst * interval))

    def _keep(self, key: str, arrival: float) -> None:
        self._arrivals[key] = arrival
        self._arrivals.move_to_end(key)
        if len(self._arrivals) > self._max_keys:
            self._arrivals.popitem(last=False)


def checked(per_minute: int, burst: int | None) -> int:
    """The burst of a limit. Raises `ValueError` for a limit that lets nothing through."""
    if per_minute < 1 or (burst is not None and burst < 1):
        raise ValueError("per_minute and burst must be at least 1")
    return burst or per_minute


def limited(per_minute: int, wait: float) -> AppError:
    """The refusal of a call that has to wait for `wait` seconds."""
    # Rounded up, so that who waits that long is let in.
    seconds = math.ceil(wait * 1000) / 1000
    return AppError(
        Code.RATE_LIMITED,
        f"More than {per_minute} calls a minute.",
        hint=f"Wait {seconds} s and call again.",
        details={"retry_after_s": seconds, "per_minute": per_minute},
    )
