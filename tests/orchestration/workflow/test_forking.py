"""What a replay or a fork takes over, and that its run ends as one from the start would."""

from collections.abc import Mapping
from typing import Any

import pytest

from app.kernel.errors import AppError, Code
from app.orchestration.workflow import Plan, StepResult, advance
from app.orchestration.workflow.forking import keep_for_fork, keep_for_replay
from tests.orchestration.workflow.executor import Run, done, failed, plan_of, run, tool

NODES: dict[str, Any] = {
    "load": tool(arguments={"f": "${{ input.file }}"}),
    "genes": tool(arguments={"g": "${{ input.genes }}"}),
    "each": {
        "map": {
            "over": "${{ input.genes }}",
            "do": {
                "nodes": {
                    "cut": tool(arguments={"gene": "${{ item }}"}),
                    "score": tool(["cut"], on_error="continue"),
                },
                "on_error": "continue",
            },
        },
        "after": ["load"],
    },
    "way": {"branch": {"when": [{"if": "${{ steps.load.output.big }}", "then": ["big"]}]}},
    "big": tool(),
    "last": tool(["each", "big", "genes"]),
}
PLAN = plan_of(NODES)
GIVEN = {"file": "f", "genes": ["x", "y"]}


def _answer(step: Any) -> StepResult:
    return done({"big": True} if step.path == "load" else {"of": step.path})


FULL = run(PLAN, GIVEN, _answer)


def again(plan: Plan, given: Any, kept: Mapping[str, StepResult]) -> Run:
    return run(plan, given, _answer, results=kept)


def test_a_replay_does_the_step_and_what_follows_it_again() -> None:
    kept = keep_for_replay(PLAN, "each[1].cut", FULL.results)
    ran = again(PLAN, GIVEN, kept)
    assert set(ran.paths) == {"each[1].cut", "each[1].score", "last"}
    assert ran.end == FULL.end


def test_a_failure_that_ended_the_run_is_not_taken_over() -> None:
    broken = {
        "load": done({"big": False}),
        "genes": failed(),
        "each[0].cut": failed("tool_timeout"),
    }
    assert advance(PLAN, GIVEN, broken).end is not None
    kept = keep_for_replay(PLAN, "last", broken)
    assert set(kept) == {"load", "each[0].cut"}
    assert "genes" in again(PLAN, GIVEN, kept).paths


def test_a_failure_that_the_workflow_lived_with_is_taken_over() -> None:
    results = {**FULL.results, "each[0].score": failed(), "each[1].cut": failed()}
    assert keep_for_replay(PLAN, "last", results).keys() == results.keys() - {"last"}
    fatal = plan_of({"m": {"map": {"over": [1], "do": tool()}}, "x": tool()})
    assert keep_for_replay(fatal, "x", {"m[0]": failed(), "x": done()}) == {}


@pytest.mark.parametrize("step", ["nope", "each[0].nope", "last.x", ""])
def test_a_step_that_is_not_there(step: str) -> None:
    with pytest.raises(AppError) as caught:
        keep_for_replay(PLAN, step, FULL.results)
    assert caught.value.code is Code.NOT_FOUND


def test_a_fork_with_another_input() -> None:
    genes = {**GIVEN, "genes": ["x", "z"]}
    kept = keep_for_fork(PLAN, GIVEN, PLAN, genes, FULL.results)
    assert set(kept) == {"load", "big"}
    file = {**GIVEN, "file": "other"}
    assert set(keep_for_fork(PLAN, GIVEN, PLAN, file, FULL.results)) == {"genes"}
    assert keep_for_fork(PLAN, GIVEN, PLAN, [1], FULL.results) == {}
    unread = {**GIVEN, "note": "read by nobody"}
    assert keep_for_fork(PLAN, GIVEN, PLAN, unread, FULL.results) == FULL.results


@pytest.mark.parametrize(
    ("changes", "gone"),
    [
        ({"last": tool(["each"])}, {"last"}),
        ({"genes": tool(arguments={"g": 1})}, {"genes", "last"}),
        ({"big": {**NODES["big"], "title": "New words", "meta": {"x": 1}}}, set()),
        ({"new": tool(["load"])}, set()),
        (
            {"way": {"branch": {"when": [{"if": "${{ input.big }}", "then": ["big"]}]}}},
            {"big", "last"},
        ),
        ({"last": None}, {"last"}),
    ],
)
def test_a_fork_with_another_definition(changes: dict[str, Any], gone: set[str]) -> None:
    nodes = {name: node for name, node in (NODES | changes).items() if node is not None}
    after = plan_of(nodes)
    kept = keep_for_fork(PLAN, GIVEN, after, GIVEN, FULL.results)
    assert FULL.results.keys() - kept.keys() == gone
    assert again(after, GIVEN, kept).end == again(after, GIVEN, {}).end
