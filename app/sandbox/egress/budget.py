"""How many bytes a task may still move, and how fast: one budget for all its connections."""

from collections.abc import Callable
from typing import Literal

from app.sandbox.egress.policies import Policy

Direction = Literal["up", "down"]


class Budget:
    """The bytes left each way, and a token bucket of one second's rate for both together."""

    def __init__(self, policy: Policy, now: Callable[[], float]) -> None:
        """`now` gives seconds of a clock that never goes back."""
        self._left: dict[Direction, int] = {"up": policy.bytes_up, "down": policy.bytes_down}
        self._rate = policy.bytes_per_s
        self._tokens = float(self._rate)
        self._now = now
        self._at = now()

    def take(self, direction: Direction, size: int) -> tuple[int, float]:
        """How many of `size` bytes may pass, and the seconds to wait before they do."""
        allowed = min(size, self._left[direction])
        self._left[direction] -= allowed
        now = self._now()
        self._tokens = min(self._rate, self._tokens + (now - self._at) * self._rate) - allowed
        self._at = now
        return allowed, max(0.0, -self._tokens / self._rate)
