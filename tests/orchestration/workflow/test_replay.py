"""What is kept when a run is repeated from a step, or with another input."""

import pytest

from app.kernel.errors import AppError, Code
from app.orchestration.workflow import changed_fields, keep_unaffected_by, keep_upstream_of
from tests.orchestration.workflow.executor import done, plan_of, run, tool

PLAN = plan_of(
    {
        "load": tool(arguments={"f": "${{ input.file }}"}),
        "other": tool(arguments={"g": "${{ input.genes }}"}),
        "m": {
            "map": {
                "over": "${{ steps.load.output }}",
                "do": {
                    "nodes": {
                        "x": tool(),
                        "y": tool(["x"]),
                        "z": tool(),
                        "n": {
                            "map": {
                                "over": [1, 2],
                                "max_items": 5,
                                "do": {"map": {"over": [3], "max_items": 5, "do": tool()}},
                            },
                            "after": ["z"],
                        },
                    }
                },
            }
        },
        "last": tool(["m"]),
        "side": tool(["other"]),
    }
)
GIVEN = {"file": "f", "genes": ["g"]}


def _answer(step: object) -> object:
    return done(["i", "j"] if getattr(step, "path", "") == "load" else 1)


FULL = run(PLAN, GIVEN, _answer)  # type: ignore[arg-type]
STORED = {**FULL.results}
DERIVED = ["m", "m[0]", "m[1]", "m[0].n", "m[0].n[0]", "m[1].n", "m[1].n[0]"]
STORED.update({path: done() for path in DERIVED})


def _gone(step: str) -> set[str]:
    return STORED.keys() - keep_upstream_of(PLAN, step, STORED).keys()


def test_a_step_and_what_follows_it_is_done_again() -> None:
    assert _gone("last") == {"last"}
    assert _gone("other") == {"other", "side"}
    in_map = {path for path in STORED if path.startswith("m")}
    assert _gone("m") == in_map | {"last"}
    assert _gone("load") == in_map | {"load", "last"}


def test_an_item_is_done_again_and_the_other_items_are_kept() -> None:
    item = {path for path in STORED if path.startswith("m[1]")}
    assert _gone("m[1]") == item | {"m", "last"}
    assert _gone("m[1].y") == {"m[1].y", "m[1]", "m", "last"}
    assert _gone("m[1].x") == {"m[1].x", "m[1].y", "m[1]", "m", "last"}


def test_an_item_of_a_map_in_a_map() -> None:
    around = {"m[0].n", "m[0]", "m", "last"}
    assert _gone("m[0].n[0]") == around | {"m[0].n[0]", "m[0].n[0][0]"}
    assert _gone("m[0].n[0][0]") == around | {"m[0].n[0]", "m[0].n[0][0]"}
    inner = {path for path in STORED if path.startswith("m[0].n")}
    assert _gone("m[0].z") == inner | {"m[0].z", "m[0]", "m", "last"}


@pytest.mark.parametrize("step", ["load", "m[1]", "m[0].y", "m[0].n[1][0]", "last"])
def test_the_same_answers_give_the_same_end(step: str) -> None:
    kept = keep_upstream_of(PLAN, step, FULL.results)
    again = run(PLAN, GIVEN, _answer, results=kept)  # type: ignore[arg-type]
    assert again.end == FULL.end
    assert set(again.paths) == FULL.results.keys() - kept.keys()
    assert step in again.paths or any(path.startswith(step) for path in again.paths)


@pytest.mark.parametrize("step", ["", "nope", "m[x]", "m[0].nope", "load[0]", "m[0].x[1]", "m.x"])
def test_a_step_that_is_not_there(step: str) -> None:
    with pytest.raises(AppError) as caught:
        keep_upstream_of(PLAN, step, {})
    assert caught.value.code is Code.NOT_FOUND


def test_another_input_repeats_only_what_reads_what_has_changed() -> None:
    assert keep_unaffected_by(PLAN, [], STORED) == STORED
    changed = changed_fields(GIVEN, {**GIVEN, "genes": []})
    assert changed == {"genes"}
    kept = keep_unaffected_by(PLAN, changed, STORED)
    assert STORED.keys() - kept.keys() == {"other", "side"}
    assert keep_unaffected_by(PLAN, {"unread"}, STORED) == STORED
    kept = keep_unaffected_by(PLAN, {"file"}, STORED)
    assert kept.keys() == {"other", "side"}


def test_a_step_that_reads_the_whole_input_is_always_repeated() -> None:
    nodes = {"a": tool(arguments="${{ input }}"), "b": tool(arguments={"x": "${{ input.x }}"})}
    results = {"a": done(), "b": done()}
    assert keep_unaffected_by(plan_of(nodes), {"y"}, results).keys() == {"b"}
    assert keep_unaffected_by(plan_of(nodes), {"x"}, results).keys() == set()


def test_inputs_that_are_no_objects() -> None:
    assert changed_fields(1, 1) == set()
    assert changed_fields(1, {"a": 1}) == {"*"}
    assert changed_fields({"a": 1, "b": 2}, {"a": 1, "c": None}) == {"b", "c"}
    nodes = {"a": tool(arguments={"x": "${{ input.x }}"})}
    assert keep_unaffected_by(plan_of(nodes), {"*"}, {"a": done()}) == {}
