"""How many waiting workers a kind of room is worth: what arrives while one is made, and some."""

import math
from dataclasses import dataclass, field

# Arrivals are forgotten at this pace, so that the size follows the last half minute.
_MEMORY_S = 30.0
_NOTHING = 0.05
_FIRST_GUESS_S = 0.3


@dataclass
class Demand:
    """The rate of arrivals (1/s) and the seconds a refill takes, both by decaying means."""

    last_at: float = -math.inf
    refill_s: float = _FIRST_GUESS_S
    _count: float = field(default=0.0, repr=False)

    def arrived(self, now: float) -> None:
        """One task that would have liked a worker."""
        self._count = self._left(now) + 1
        self.last_at = now

    def refilled(self, seconds: float) -> None:
        """A worker was made, which took so long."""
        self.refill_s += (seconds - self.refill_s) / 4

    def rate(self, now: float) -> float:
        """Arrivals in a second, of late."""
        left = self._left(now)
        return left / _MEMORY_S if left > _NOTHING else 0.0

    def target(self, now: float, least: int, most: int) -> int:
        """Workers that should wait: `least` and those that a refill's time would use up."""
        return min(most, least + math.ceil(self.rate(now) * self.refill_s))

    def _left(self, now: float) -> float:
        if self._count == 0:
            return 0.0
        return self._count * math.exp(-max(now - self.last_at, 0.0) / _MEMORY_S)
