"""Values of leased credits: the terms of a lease, a charge, and what one transaction writes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple
from uuid import UUID

from app.billing.types import Usage


@dataclass(frozen=True, slots=True)
class Terms:
    """How credits are leased. Times in seconds.

    A crash gives back within `lifetime_s` what was leased and not written. A call's charge is
    written about `flush_s` after its answer; at most `most_unwritten` calls wait for that.
    """

    lifetime_s: float = 30.0
    # Between the database's clock and ours a lease ends here first.
    margin_s: float = 5.0
    flush_s: float = 0.09
    most_unwritten: int = 1000

    @property
    def renewed_s(self) -> float:
        """The age at which a lease in use is renewed."""
        return self.lifetime_s / 3


class Charge(NamedTuple):
    """What a call cost."""

    call_id: UUID
    user_id: UUID
    amount_micro: int


class Lease(NamedTuple):
    """Credits to be leased: at least `need_micro`, up to `most_micro` of a wallet that is rich."""

    hold_id: UUID
    user_id: UUID
    need_micro: int
    most_micro: int


class Leased(NamedTuple):
    """What a wallet gave, and what it has left."""

    amount_micro: int
    left_micro: int


class Roll(NamedTuple):
    """The end of one lease and the begin of the next: charges are captured, the rest goes on.

    `old_id` is None for a first lease, `lease` None for the last. `late_id` is the hold of charges
    whose lease was taken back meanwhile, because it had run out.
    """

    user_id: UUID
    old_id: UUID | None
    charges: tuple[Charge, ...]
    late_id: UUID
    lease: Lease | None

    @property
    def captured_micro(self) -> int:
        """What is captured of the old lease."""
        return sum(charge.amount_micro for charge in self.charges)

    def without(self, paid: Collection[UUID]) -> "Roll":
        """The same, less the charges of these calls: their credits go back with the rest."""
        kept = tuple(charge for charge in self.charges if charge.call_id not in paid)
        return self._replace(charges=kept)


@dataclass(slots=True)
class Batch:
    """What one transaction writes, for any number of users; its ids make it safe to repeat.

    `began` is the monotonic moment before the first attempt: leases are counted from there.
    """

    rolls: Sequence[Roll]
    usages: Sequence[Usage]
    began: float
    is_repeat: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a batch came to: leases by user, and charges that no credits were left for."""

    leased: Mapping[UUID, Leased] = field(default_factory=dict)
    uncollected: Sequence[Charge] = ()
