"""Values of usage mode: the quote of a run and the account it draws on."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from app.billing.types import Quote
from app.billing.usage.rates import Tariff, UsageRate

NEAR_PERCENT = 80
"""How much of what is held may be used before more is held."""
_LEAST_STEP = 10_000


@dataclass(frozen=True, slots=True)
class UsageQuote(Quote):
    """What a run in usage mode costs: `low_micro` to `high_micro` as a rule, `cap_micro` at most.

    `amount_micro` is held at first: the high estimate, or the cap if that is less.
    """

    low_micro: int = 0
    high_micro: int = 0
    cap_micro: int = 0
    rates: Sequence[UsageRate] = field(default_factory=tuple)


@dataclass(frozen=True, slots=True)
class Account:
    """What a job in usage mode has used and holds; its rates never change while it runs."""

    job_id: UUID
    user_id: UUID
    tariff: Tariff
    cap_micro: int
    first_micro: int
    held_micro: int
    used_parts: int

    @property
    def used_micro(self) -> int:
        """What has been used, in micro-credits; it may be more than is held."""
        return self.tariff.micro(self.used_parts)

    @property
    def charge_micro(self) -> int:
        """What the job would cost if it ended now: never more than is held."""
        return min(self.used_micro, self.held_micro)

    @property
    def is_near(self) -> bool:
        """Whether usage nears what is held."""
        return self._is_near(self.used_parts)

    def admits(self, before: int, fixed: int, *, is_open: bool) -> bool:
        """Whether a step may start when `before` parts are used or promised.

        What is known of its price, `fixed`, must fit into what is held; where a part of the price
        is open, usage must not be near what is held either. A free step may always start.
        """
        if not fixed and not is_open:
            return True
        fits = before + fixed <= self._held_parts
        return fits and not (is_open and self._is_near(before))

    def step_micro(self, parts: int) -> int:
        """How much more to hold for a usage of `parts`; 0 at the cap.

        Half as much again as is held, so that a long run holds more only a few times.
        """
        missing = self.tariff.micro(parts) - self.held_micro
        step = max(self.first_micro // 2, self.held_micro // 2, missing, _LEAST_STEP)
        return max(0, min(step, self.cap_micro - self.held_micro))

    @property
    def _held_parts(self) -> int:
        return self.held_micro * self.tariff.per_micro

    def _is_near(self, parts: int) -> bool:
        return parts * 100 >= self._held_parts * NEAR_PERCENT
