"""Any order of moves, as Hypothesis finds them: a failure shrinks to the fewest moves that show it.

The product's own code runs over memory; the judges at each commit and the audit after each move
say what is wrong.
"""

from collections.abc import Coroutine
from typing import Any, TypeVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.faults.summary import SECONDS
from tests.simulation.loop import simulate
from tests.simulation.memory import BrokenPromiseError
from tests.simulation.sides import Side, SteppedMemory
from tests.simulation.test_simulation import holds_beyond_the_wallet

_T = TypeVar("_T")
GRANT = 100
REQUEST = st.fixed_dictionaries(
    {
        "user": st.integers(0, 1),
        "n": st.integers(0, 1),
        "price": st.sampled_from([0, 5, 60]),
        "key": st.sampled_from([None, "a", "b"]),
        "priority": st.integers(-2, 2),
        "is_later": st.booleans(),
    }
)
STATUSES = st.sampled_from(["Success", "Failed", "Dead", "Cancelled"])


class QueueMachine(RuleBasedStateMachine):
    """Callers, owners and workers who do what they may at any time, also with leases long lost."""

    mutants: dict[str, Any] = {}  # noqa: RUF012 - set by subclasses

    def __init__(self) -> None:
        super().__init__()
        self.memory = SteppedMemory()
        users = [UUID(int=1), UUID(int=2)]
        for user in users:
            self.memory.memory.grant(user, GRANT)
        self.side = Side(self.memory, users, True, dict(self.mutants))

    def do(self, work: Coroutine[Any, Any, _T]) -> _T:
        return simulate(work)

    @rule(asked=st.lists(REQUEST, min_size=1, max_size=3))
    def submit(self, asked: list[dict[str, Any]]) -> None:
        seen = self.do(self.side.submit(asked))
        assert len(seen) == len(asked)

    @rule(limit=st.integers(1, 3))
    def claim(self, limit: int) -> None:
        assert len(self.do(self.side.claim(limit))) <= limit

    @rule()
    def stage(self) -> None:
        self.do(self.side.stage())

    @precondition(lambda self: self.side.jobs)
    @rule(data=st.data(), what=st.sampled_from(["cancel", "expire", "come_due"]))
    def touch(self, data: st.DataObject, what: str) -> None:
        job = data.draw(st.integers(0, len(self.side.jobs) - 1))
        self.do(getattr(self.side, what)(job))

    @precondition(lambda self: self.side.leases)
    @rule(data=st.data(), statuses=st.lists(STATUSES, min_size=1, max_size=3))
    def finish(self, data: st.DataObject, statuses: list[str]) -> None:
        """Ends of any leases ever had, stale ones and several of one job among them."""
        token = st.sampled_from(sorted(self.side.leases))
        tokens = [data.draw(token) for _ in statuses]
        ended = self.do(self.side.finish(tokens, statuses))
        assert {job for job, _ in tokens} >= set(ended)

    @precondition(lambda self: self.side.leases)
    @rule(data=st.data(), delay_s=st.sampled_from([0.0, 3600.0]))
    def retry(self, data: st.DataObject, delay_s: float) -> None:
        token = data.draw(st.sampled_from(sorted(self.side.leases)))
        self.do(self.side.retry(token, delay_s))

    @invariant()
    def the_books_balance(self) -> None:
        self.memory.memory.audit()


def machine(examples: int, steps: int, **mutants: Any) -> None:
    run_state_machine_as_test(
        type("Machine", (QueueMachine,), {"mutants": mutants}),
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            report_multiple_bugs=False,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(120 + SECONDS)
def test_any_order_of_moves_keeps_every_promise() -> None:
    machine(1000 if SECONDS else 60, 20)


def test_a_mutant_is_found_and_shrunk() -> None:
    with pytest.raises(BrokenPromiseError) as caught:
        machine(40, 5, place_holds=holds_beyond_the_wallet)
    # Hypothesis tells the moves of the shortest failure it knows.
    told = [note.strip() for note in caught.value.__notes__]
    moves = [note for note in told if note.startswith("state.") and "books" not in note]
    assert 1 <= len(moves) <= 5, told
