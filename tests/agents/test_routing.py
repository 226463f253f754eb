import pytest

from app.agents.routing import attempt_of, merge, next_role, reason_for
from app.agents.types import MAX_ATTEMPTS, RunState

ONWARD = [
    (RunState(), "planner"),
    (RunState(last="planner"), "retriever"),
    (RunState(last="retriever"), "coder"),
    (RunState(last="coder", impossible=None, attempt=1), "evaluator"),
    (RunState(last="coder", impossible={"code": "no_guide"}, attempt=1), None),
    (RunState(last="evaluator", verdict="passed", attempt=1), "reporter"),
    (RunState(last="evaluator", verdict="passed", attempt=MAX_ATTEMPTS), "reporter"),
    (RunState(last="evaluator", verdict="refused", attempt=MAX_ATTEMPTS - 1), "coder"),
    (RunState(last="evaluator", verdict="refused", attempt=MAX_ATTEMPTS), None),
    (RunState(last="reporter", verdict="passed", attempt=1), None),
]


@pytest.mark.parametrize(("state", "expected"), ONWARD)
def test_the_next_role_follows_from_the_state_alone(state: RunState, expected: str | None) -> None:
    assert next_role(state) == expected


def test_only_coder_and_evaluator_count_attempts() -> None:
    refused = RunState(last="evaluator", verdict="refused", attempt=2)
    assert attempt_of("coder", RunState()) == 1
    assert attempt_of("coder", refused) == 3
    assert attempt_of("evaluator", RunState(last="coder", attempt=2)) == 2
    assert attempt_of("reporter", refused) == attempt_of("planner", RunState()) == 1


def test_an_update_replaces_keys_and_keeps_the_others() -> None:
    before = RunState(attempt=1, draft={"a": 1})
    after = merge(before, RunState(draft={"b": 2}))
    assert after == {"attempt": 1, "draft": {"b": 2}}
    assert before["draft"] == {"a": 1}


def test_a_refusal_is_handed_over_with_its_own_reasons() -> None:
    refusals = [{"reasons": ["old"]}, {"reasons": ["too near", "too far"]}]
    state = RunState(last="evaluator", refusals=refusals)
    assert reason_for("coder", state) == "too near; too far"
