"""The arithmetic of one block, whatever happens in whatever order."""

from collections.abc import Callable
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from app.billing.blocks.block import Block
from app.billing.blocks.types import Charge, Leased, Roll, Terms
from app.kernel.ids import new_id

TERMS = Terms()
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["take", "spend", "give_back", "begin", "commit", "wait", "run_out"]),
        st.integers(1, 50),
    ),
    max_size=60,
)


class Played:
    """A block, and beside it what a wallet of 1,000 would say."""

    def __init__(self) -> None:
        self.now = 0.0
        self.block = Block(uuid4(), self.now)
        self.wallet = 1000
        self.leased = 0
        self.captured = 0
        self.promised: list[int] = []
        self.roll: Roll | None = None

    def take(self, amount: int) -> None:
        if self.block.take(amount, self.now, TERMS):
            self.promised.append(amount)

    def spend(self, _amount: int) -> None:
        if self.promised:
            amount = self.promised.pop()
            self.block.spend(Charge(new_id(), self.block.user_id, amount))

    def give_back(self, _amount: int) -> None:
        if self.promised:
            self.block.give_back(self.promised.pop(0))

    def begin(self, amount: int) -> None:
        if self.roll is None:
            self.roll = self.block.roll(amount)

    def commit(self, _amount: int) -> None:
        """As `writing.write`: capture, then lease anew of what the wallet has."""
        if (roll := self.roll) is None:
            return
        assert roll.lease is not None
        self.roll = None
        if roll.captured_micro <= self.leased:
            self.wallet += self.leased - roll.captured_micro
            self.captured += roll.captured_micro
        elif roll.captured_micro <= self.wallet:
            self.wallet -= roll.captured_micro
            self.captured += roll.captured_micro
        need, most = roll.lease.need_micro, roll.lease.most_micro
        self.leased = min(self.wallet, max(need, min(most, self.wallet // 4)))
        self.wallet -= self.leased
        self.block.rolled(roll, Leased(self.leased, self.wallet), self.now)

    def wait(self, seconds: int) -> None:
        self.now += seconds

    def run_out(self, _amount: int) -> None:
        """The lease is given back behind the block's back."""
        self.wallet, self.leased = self.wallet + self.leased, 0

    @property
    def waits(self) -> int:
        return sum(charge.amount_micro for charge in self.block.charges)


@given(STEPS)
def test_nothing_is_spent_that_is_not_leased(steps: list[tuple[str, int]]) -> None:
    played, ran_out = Played(), False
    for name, amount in steps:
        step: Callable[[int], None] = getattr(played, name)
        step(amount)
        ran_out = ran_out or name == "run_out"
        block = played.block
        assert block.reserved == sum(played.promised)
        assert block.spent == played.waits
        assert min(block.reserved, block.spent, block.writing, played.wallet) >= 0
        assert block.spent + block.writing <= block.amount
        assert played.captured <= 1000
        assert played.wallet + played.leased + played.captured == 1000
        assert ran_out or block.free >= 0


def test_an_old_lease_promises_nothing() -> None:
    block = Block(uuid4(), 0.0)
    roll = block.roll(10)
    block.rolled(roll, Leased(100, 0), 0.0)
    last = TERMS.lifetime_s - TERMS.margin_s
    assert block.take(10, last, TERMS)
    assert not block.take(10, last + 0.1, TERMS)


def test_a_lease_grows_with_its_use() -> None:
    block = Block(uuid4(), 0.0)
    amounts = []
    for _ in range(4):
        roll = block.roll(10)
        assert roll.lease is not None
        block.rolled(roll, Leased(roll.lease.most_micro, 0), 0.0)
        amounts.append(block.amount)
        while block.take(10, 0.0, TERMS):
            assert block.spend(Charge(new_id(), block.user_id, 10))
    # What was spent since, eight times.
    assert amounts == [10, 80, 640, 5120]


def test_a_lease_is_kept_for_who_calls_often() -> None:
    block = Block(uuid4(), 0.0)
    block.rolled(block.roll(100), Leased(100, 0), 0.0)
    assert block.take(10, 0.0, TERMS)
    assert not block.is_quiet
    block.give_back(10)
    assert block.is_quiet
    assert block.take(10, 0.0, TERMS)
    block.give_back(10)
    assert not block.is_quiet
    block.rolled(block.roll(0), Leased(100, 0), 0.0)
    assert block.is_quiet
