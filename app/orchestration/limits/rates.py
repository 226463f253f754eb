"""The generic cell rate algorithm (ITU-T I.371, virtual scheduling). Pure; times in seconds.

A rate of one start each `period` may run ahead by `burst - 1` periods. Its whole state is one
number, the theoretical arrival time (`tat`): when the next start would come if all came evenly.
"""

from dataclasses import dataclass

HORIZON_S = 10.0
"""How far ahead starts are booked; jobs beyond it wait in their line."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Starts per minute, of which `burst` may come at once."""

    per_minute: int
    burst: int

    @property
    def period_s(self) -> float:
        """The even distance of two starts."""
        return 60.0 / self.per_minute

    def conforming(self, tat: float | None, now: float) -> float:
        """The earliest time, now or later, at which one more start conforms."""
        return now if tat is None else max(now, tat - (self.burst - 1) * self.period_s)

    def spent(self, tat: float | None, at: float) -> float:
        """The state after a start at `at`, which is a conforming time."""
        return (at if tat is None else max(tat, at)) + self.period_s

    def room(self, tat: float | None, now: float) -> int:
        """How many starts can be booked within the horizon."""
        behind = now if tat is None else max(now, tat)
        most = now + HORIZON_S + (self.burst - 1) * self.period_s
        return max(0, int((most - behind) / self.period_s + 1e-6) + 1) if most >= behind else 0

    def looked_at(self, tat: float | None, now: float) -> float:
        """When a line that this rate has closed is worth another look: half a horizon early."""
        return max(now, self.conforming(tat, now) - HORIZON_S / 2)
