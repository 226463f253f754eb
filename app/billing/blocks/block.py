"""One leased block of credits, as the process that leased it counts it. Pure.

    amount = free + reserved + spent + writing

`reserved` is promised to calls under way, `spent` was charged and waits to be written, `writing`
is in the transaction that is written just now.
"""

from uuid import UUID

from app.billing.blocks.types import Charge, Lease, Leased, Roll, Terms
from app.kernel.ids import new_id

# What a busy block should last for, in times of what was spent since it was written last.
_AHEAD = 8
_BUSY_CALLS = 2


class Block:
    """The leased credits of one user."""

    __slots__ = (
        "_calls",
        "_hold_id",
        "_is_ended",
        "_leased_at",
        "amount",
        "charges",
        "reserved",
        "spent",
        "user_id",
        "writing",
    )

    def __init__(self, user_id: UUID, now: float) -> None:
        """A block without credits; `now` and all moments are monotonic seconds."""
        self.user_id = user_id
        self.amount = self.reserved = self.spent = self.writing = 0
        self.charges: list[Charge] = []
        self._hold_id: UUID | None = None
        self._leased_at = now
        self._calls = 0
        self._is_ended = False

    @property
    def free(self) -> int:
        """What may still be promised; below zero after a lease was taken back."""
        return self.amount - self.reserved - self.spent - self.writing

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is promised, and too little was lately to keep credits for it."""
        return self.reserved == 0 and self._calls < _BUSY_CALLS

    def take(self, amount_micro: int, now: float, terms: Terms) -> bool:
        """Promise credits to a call, if there are enough and the lease still holds."""
        if amount_micro > self.free or now > self._leased_at + terms.lifetime_s - terms.margin_s:
            return False
        self.reserved += amount_micro
        self._calls += 1
        return True

    def give_back(self, amount_micro: int) -> None:
        """End a promise; nothing is charged."""
        self.reserved -= amount_micro

    def spend(self, charge: Charge) -> bool:
        """End a promise by a charge; False if the lease was taken back and nothing is left."""
        self.reserved -= charge.amount_micro
        # Unless a lease was taken back, a promise is always covered.
        is_covered = self.spent + self.writing + charge.amount_micro <= self.amount
        if self._is_ended or not is_covered:
            return False
        self.spent += charge.amount_micro
        self.charges.append(charge)
        return True

    def is_due(self, now: float, terms: Terms) -> bool:
        """Whether there is something to write: charges, or a lease that grows old."""
        return self.spent > 0 or now - self._leased_at >= terms.renewed_s

    def roll(self, wanted_micro: int, *, is_last: bool = False) -> Roll:
        """What to write: all charges, then the next lease, of `wanted_micro` more than is kept.

        Until `rolled` the block goes on with what it has; of a last roll it is the end.
        """
        charges, self.charges = tuple(self.charges), []
        self.writing, self.spent, self._calls = self.spent, 0, 0
        self._is_ended = is_last
        need = self.amount - self.writing + wanted_micro
        # The first lease is of what is needed; one that was too small is followed by twice as much.
        more = 2 * self.amount if wanted_micro else 0
        most = max(need, self.writing * _AHEAD, more)
        lease = None if is_last else Lease(new_id(), self.user_id, need, most)
        return Roll(self.user_id, self._hold_id, charges, new_id(), lease)

    def rolled(self, roll: Roll, leased: Leased | None, began: float) -> None:
        """The roll is durable; `began` is a moment before its transaction."""
        self.writing = 0
        if roll.lease is not None:
            self.amount = 0 if leased is None else leased.amount_micro
            self._hold_id = roll.lease.hold_id if self.amount else None
            self._leased_at = began
