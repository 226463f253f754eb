"""What a workflow can cost at most, and what it did cost."""

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.orchestration.workflow import Plan, StepResult
from app.orchestration.workflow.envelope import Envelope
from app.orchestration.workflow.pricing import (
    ANY_INPUT,
    bound_micro,
    charge_micro,
    cost_micro,
    pattern_of,
    target_of,
    targets_again,
    unpaid_of,
)
from tests.orchestration.workflow.executor import done, failed, plan_of, run, tool

A, B, C, BOX, DESIGN = "tool:s.a", "tool:s.b", "tool:s.c", "tool:sandbox.run_python", "template:t"
PRICES = {A: 1, B: 10, C: 100, BOX: 1000, DESIGN: 10_000, "tool:server.tool": 7}


def a(*after: str, name: str = "s.a", **more: Any) -> dict[str, Any]:
    return {"tool": name, "after": list(after), **more}


def each(over: Any, do: dict[str, Any], most: int = 5) -> dict[str, Any]:
    return {"map": {"over": over, "max_items": most, "do": do}}


def choose(*arms: list[str], other: list[str]) -> dict[str, Any]:
    when = [{"if": f"${{{{ input.way == '{at}' }}}}", "then": arm} for at, arm in enumerate(arms)]
    return {"branch": {"when": when, "else": other}}


def bound(nodes: dict[str, Any], workflow_input: Any = None, **more: Any) -> int:
    return bound_micro(plan_of(nodes), workflow_input, PRICES, **more)


def test_every_kind_of_node_has_its_price() -> None:
    nodes = {
        "a": a(retry={"max_attempts": 20}),
        "box": {"sandbox": {"code": "1"}},
        "design": {"agent": {"template": "t"}},
        "free": {"agent": {"task": "think"}},
        "wait": {"wait": {"seconds": 1}},
    }
    assert bound(nodes) == 1 + 1000 + 10_000
    targets = [target_of(node) for node in plan_of(nodes).walk()]
    assert targets == [A, BOX, DESIGN, None, None]


@pytest.mark.parametrize(
    ("over", "given_input", "times"),
    [
        ([1, 2], None, 2),
        ("${{ input.list }}", {"list": [1, 2, 3]}, 3),
        ("${{ input.list }}", {"list": list(range(50))}, 5),
        ("${{ input.list }}", {"list": "no list"}, 0),
        ("${{ input.list }}", None, 0),
        ("${{ length(input.list) }}", {"list": None}, 5),
        (["${{ input.x }}", "${{ steps.a.output }}"], {}, 5),
        ("${{ steps.a.output }}", {}, 5),
    ],
)
def test_a_map_counts_as_often_as_can_be_known(over: Any, given_input: Any, times: int) -> None:
    nodes = {"a": a(), "m": each(over, {"tool": "s.b"})}
    assert bound(nodes, given_input) == 1 + 10 * times


def test_without_an_input_a_map_is_as_long_as_it_may_be() -> None:
    nodes = {"m": each("${{ input.list }}", {"tool": "s.b"}), "n": each([1], {"tool": "s.a"})}
    assert bound(nodes, ANY_INPUT) == 5 * 10 + 1


def test_maps_in_maps_multiply() -> None:
    inner = each("${{ item }}", {"tool": "s.b"}, most=4)
    body = {"nodes": {"one": a(), "many": inner}}
    assert bound({"m": each("${{ input }}", body, most=3)}, [[], []]) == 2 * (1 + 4 * 10)


def test_the_dearest_arm_counts() -> None:
    nodes = {
        "way": choose(["a"], ["b"], other=["c"]),
        "a": a(),
        "b": a(name="s.b"),
        "c": a(name="s.c"),
        "meet": a("a", "b", "c"),
        "after_b": a("b", name="s.c"),
    }
    assert bound(nodes) == 10 + 100 + 1
    nodes["two"] = choose(["x"], other=["y"])
    nodes |= {"x": a(name="s.b"), "y": a(name="s.a")}
    assert bound(nodes) == 111 + 10
    inside = {"m": each([1, 2], {"nodes": nodes})}
    assert bound(inside) == 2 * 121


def test_very_many_branches_are_summed() -> None:
    nodes: dict[str, Any] = {}
    for at in range(12):
        nodes |= {f"w{at}": choose([f"a{at}"], other=[f"b{at}"])}
        nodes |= {f"a{at}": a(), f"b{at}": a(name="s.b")}
    assert bound(nodes) == 12 * 11


def test_what_is_kept_costs_nothing_again() -> None:
    nodes = {
        "way": choose(["a"], other=["c"]),
        "a": a(),
        "c": a(name="s.c"),
        "m": each([1, 2, 3], {"nodes": {"x": a(), "y": a("x", name="s.b")}}),
    }
    assert bound(nodes) == 100 + 3 * 11
    kept = {
        "way": done({"arm": 0, "then": ["a"]}),
        "m[0].x": done(),
        "m[0].y": done(),
        "m[0]": done(),
        "m[1].x": done(),
        "m[1].y": failed(),
    }
    assert bound(nodes, kept=kept) == 1 + (33 - 12)
    assert bound(nodes, kept={"a": done(), "way": kept["way"]}) == 33
    assert targets_again(plan_of(nodes), {"c", "way"}) == {A, B}


def test_the_pattern_of_a_path() -> None:
    paths = ["a", "m[3]", "m[3].x", "m[0][12].x[1]"]
    assert [pattern_of(path) for path in paths] == ["a", "m[]", "m[].x", "m[][].x[]"]


PLAN = plan_of(
    {
        "a": a(),
        "m": each([1, 2], {"tool": "s.b"}),
        "n": each([1], {"nodes": {"x": {"tool": "s.c"}}}),
    }
)
RESULTS = {
    "a": done(),
    "m[0]": done(),
    "m[1]": failed(),
    "n[0].x": done(),
    "n[0]": done(),
    "n": StepResult("Success", [], None, []),
}


def body(**more: Any) -> dict[str, Any]:
    return Envelope(definition={}, prices=PRICES, **more).as_dict()


def test_steps_that_succeeded_are_charged() -> None:
    assert charge_micro(PLAN, body(), RESULTS, is_success=True) == 1 + 10 + 100
    kept = body(forked_from="job", kept=("a", "n[0].x"))
    assert charge_micro(PLAN, kept, RESULTS, is_success=True) == 10
    owing = body(forked_from="job", kept=("a", "n[0].x"), unpaid=("a",))
    assert charge_micro(PLAN, owing, RESULTS, is_success=True) == 11


def test_what_nobody_paid_for_is_passed_on() -> None:
    first = body()
    assert unpaid_of(PLAN, first, RESULTS, 111, ["a", "m[0]"]) == set()
    assert unpaid_of(PLAN, first, RESULTS, 0, ["a", "m[0]"]) == {"a", "m[0]"}
    second = body(forked_from="job", kept=("a", "m[0]"), unpaid=("m[0]",))
    assert unpaid_of(PLAN, second, RESULTS, 0, ["a", "m[0]", "n[0].x"]) == {"m[0]", "n[0].x"}
    assert unpaid_of(PLAN, second, RESULTS, 110, ["a", "m[0]", "n[0].x"]) == set()
    whole = {"definition": {}, "input": 1}
    assert unpaid_of(PLAN, whole, RESULTS, 0, ["a"]) == {"a"}
    assert unpaid_of(PLAN, whole, RESULTS, 5, ["a"]) == set()


def test_a_failed_run_is_free_unless_usage_was_agreed() -> None:
    assert charge_micro(PLAN, body(), RESULTS, is_success=False) == 0
    usage = body(billing="usage")
    assert charge_micro(PLAN, usage, RESULTS, is_success=False) == 111
    assert charge_micro(PLAN, {"definition": {}, "input": 1}, RESULTS, is_success=True) is None


def test_an_envelope_comes_back_as_it_was() -> None:
    whole = Envelope(
        definition={"workflow": 1},
        input=[1],
        billing="usage",
        prices={"tool:a": 1},
        pins={"tool:a": "0" * 64},
        name="mine",
        version=3,
        forked_from="job",
        kept=("a", "b"),
        unpaid=("b",),
    )
    assert Envelope.of(whole.as_dict()) == whole
    assert Envelope(definition={}, input=2).as_dict() == {"definition": {}, "input": 2}


NAMES = [f"n{at}" for at in range(6)]


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Any]:
    """Tools, branches and maps that wait for earlier nodes."""
    nodes: dict[str, Any] = {}
    for at, name in enumerate(NAMES):
        after = draw(st.lists(st.sampled_from(NAMES[:at]), max_size=2, unique=True)) if at else []
        kind = draw(st.sampled_from(["tool", "tool", "map", "branch"]))
        later = NAMES[at + 1 :]
        if kind == "branch" and later:
            arms = st.lists(st.sampled_from(later), max_size=2, unique=True)
            nodes[name] = {**choose(draw(arms), draw(arms), other=draw(arms)), "after": after}
        elif kind == "map":
            nodes[name] = {**each("${{ input.list }}", tool(), most=3), "after": after}
        else:
            nodes[name] = tool(after)
    return nodes


@settings(max_examples=150, deadline=None)
@given(graphs(), st.sampled_from("012"), st.integers(0, 3), st.integers(0, 99))
def test_no_run_costs_more_than_its_bound(
    nodes: dict[str, Any], way: str, items: int, seed: int
) -> None:
    plan: Plan = plan_of(nodes)
    workflow_input = {"way": way, "list": [1] * items}
    ran = run(plan, workflow_input, lambda _step: done(1), random=Random(seed))
    envelope = Envelope(definition={}, prices=PRICES)
    cost = cost_micro(plan, envelope, ran.results)
    assert cost == 7 * len(ran.finished)
    assert cost <= bound_micro(plan, workflow_input, PRICES)
    kept = dict(list(ran.results.items())[: seed % 4])
    unpaid = tuple(list(kept)[: seed % 3])
    forked = Envelope(definition={}, prices=PRICES, kept=tuple(kept), unpaid=unpaid)
    part = cost_micro(plan, forked, ran.results)
    assert part <= bound_micro(plan, workflow_input, PRICES, kept, unpaid)
