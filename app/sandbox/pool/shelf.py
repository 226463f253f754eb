"""The workers that wait for one kind of task, and what is known of the demand for them."""

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from app.sandbox.pool.demand import Demand
from app.sandbox.pool.types import PoolPlan, Wanted, Worker

W = TypeVar("W", bound=Worker)

_FIRST_RETRY_S, _LAST_RETRY_S = 1.0, 60.0


@dataclass(frozen=True)
class Waiting(Generic[W]):
    """A worker that waits, since when, and the image it lives in."""

    worker: W
    since: float
    image: str | None


@dataclass
class Shelf(Generic[W]):
    """Workers of one room. A standing shelf is kept filled even if nobody has asked yet."""

    wanted: Wanted
    is_standing: bool
    demand: Demand = field(default_factory=Demand)
    waiting: deque[Waiting[W]] = field(default_factory=deque)
    starting: int = 0
    retry_at: float = -math.inf
    _pause_s: float = _FIRST_RETRY_S

    @property
    def count(self) -> int:
        """Workers that wait or are being made."""
        return len(self.waiting) + self.starting

    @property
    def is_slow(self) -> bool:
        """Whether making one is mostly imports, which take a processor for a while."""
        return bool(self.wanted.room.imports)

    @property
    def bytes(self) -> int:
        """Memory they are taken to use."""
        return self.count * self.wanted.idle_bytes

    def bytes_due(self, plan: PoolPlan) -> int:
        """Memory that the workers it must always have will take, beyond those it has."""
        due = max(plan.least - self.count, 0) if self.is_standing else 0
        return due * self.wanted.idle_bytes

    def target(self, now: float, plan: PoolPlan) -> int:
        """How many should wait now."""
        least = plan.least if self.is_standing else int(self.is_wanted(now, plan))
        return self.demand.target(now, least, plan.most)

    def is_wanted(self, now: float, plan: PoolPlan) -> bool:
        """Whether it stands, or somebody asked for it not long ago."""
        return self.is_standing or now - self.demand.last_at < plan.idle_s

    def failed(self, now: float) -> None:
        """No worker could be made; the next try is later each time."""
        self.retry_at = now + self._pause_s
        self._pause_s = min(2 * self._pause_s, _LAST_RETRY_S)

    def stock(self, one: Waiting[W], seconds: float) -> None:
        """A worker was made."""
        self._pause_s = _FIRST_RETRY_S
        self.demand.refilled(seconds)
        self.waiting.append(one)

    def spoilt(self, now: float, image: str | None, plan: PoolPlan) -> Iterator[W]:
        """Take away the dead, the old, those of another image, and what is too many."""
        kept: deque[Waiting[W]] = deque()
        for one in self.waiting:
            is_young = now - one.since < plan.idle_s
            if one.worker.is_alive and is_young and one.image == image:
                kept.append(one)
            else:
                yield one.worker
        target = self.target(now, plan)
        while len(kept) > target:
            yield kept.popleft().worker
        self.waiting = kept
