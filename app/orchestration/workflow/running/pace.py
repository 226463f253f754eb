"""When a lane looks for jobs: when called, else from time to time, never right after a miss.

Wake-ups come for jobs of every kind; looking at each of them in vain would cost the others.
"""

_LONGEST_REST_S = 0.05
_FIRST_REST_S = 0.002
_MOST_MISSES = 10


class Pace:
    """Times are the loop's. `poll_s` is the longest time between two looks."""

    __slots__ = ("_is_called", "_look_at", "_misses", "_poll_s", "_rest_until")

    def __init__(self, poll_s: float) -> None:
        self._poll_s = poll_s
        self._is_called = True
        self._look_at = self._rest_until = 0.0
        self._misses = 0

    @property
    def is_called(self) -> bool:
        """Whether there may be jobs."""
        return self._is_called

    @property
    def next_at(self) -> float:
        """When to look next."""
        return self._rest_until if self._is_called else self._look_at

    def call(self) -> None:
        """There may be jobs."""
        self._is_called = True

    def rest(self, at: float) -> None:
        """The database did not answer: look again, but not at once."""
        self.looked(at, has_found=False)
        self._is_called = True

    def looked(self, at: float, *, has_found: bool) -> None:
        """The lane has looked; while it finds jobs there may be more."""
        self._is_called = has_found
        rest_s = 0.0
        if has_found:
            self._misses = 0
        else:
            rest_s = min(_LONGEST_REST_S, _FIRST_REST_S * 2.0**self._misses)
            self._misses = min(self._misses + 1, _MOST_MISSES)
        self._rest_until, self._look_at = at + rest_s, at + self._poll_s
