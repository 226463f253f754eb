"""Where a claim, and a submit that asks for the head, begins to look in the queue.

Rows that were claimed and deleted stay in the index for as long as an old snapshot may see them,
at the very head where every claim looks first. A claim that begins where the last one ended does
not meet them. What came to lie before that (a job given back, another process's) is found by a
sweep from the start, ten times a second and less often where sweeps take long.
"""

_SWEEP_S = 0.1
_SHARE = 20


class Floor:
    """The floor of one claimer or submitter of one kind of job; seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._place = 0
        self._sweep_at = 0.0
        self._may_have_missed = False

    def next(self, now: float) -> int:
        """The place to begin at; 0 is a sweep."""
        return 0 if now >= self._sweep_at else self._place

    def saw(self, floor: int, place: int | None, began: float, now: float) -> None:
        """A look that began at `floor` came up to `place`, None if it found nothing."""
        self._may_have_missed = floor > 0 and place is None
        if floor == 0:
            self._sweep_at = now + max(_SWEEP_S, _SHARE * (now - began))
        if place is not None:
            self._place = place

    def rest(self, now: float, longest_s: float) -> float:
        """How long a claimer that found nothing may wait for a wake-up.

        Until its next sweep, unless it has just swept.
        """
        if not self._may_have_missed:
            return longest_s
        return min(max(self._sweep_at - now, 0.0), longest_s)
