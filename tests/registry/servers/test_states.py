"""The states of servers, as data."""

from itertools import product
from typing import get_args

import pytest

from app.kernel.errors import AppError, Code
from app.registry import TRANSITIONS, ServerStatus, require_move

STATUSES: tuple[ServerStatus, ...] = get_args(ServerStatus)
MOVES = set(product(STATUSES, STATUSES))
KNOWN = {(before, after) for before, onward in TRANSITIONS.items() for after in onward}


def test_every_state_has_moves_and_approval_is_the_operators() -> None:
    assert set(TRANSITIONS) == set(STATUSES)
    approving = [onward["Approved"] for onward in TRANSITIONS.values() if "Approved" in onward]
    assert approving == [frozenset({"operator"})] * 2


@pytest.mark.parametrize(("before", "after"), sorted(MOVES))
def test_each_move(before: ServerStatus, after: ServerStatus) -> None:
    for actor in ("developer", "operator"):
        allowed = (before, after) in KNOWN and actor in TRANSITIONS[before][after]
        if allowed:
            assert require_move(before, after, actor, what="lab") == after
            continue
        with pytest.raises(AppError) as caught:
            require_move(before, after, actor, what="lab")
        is_known = (before, after) in KNOWN
        assert caught.value.code is (Code.FORBIDDEN if is_known else Code.CONFLICT)
        assert caught.value.hint
