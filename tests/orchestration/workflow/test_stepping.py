"""What follows from what: order, arms, maps, failures, waiting."""

from typing import Any

import pytest

from app.orchestration.workflow import ReadyStep, StepResult, WorkflowEnd, advance
from tests.orchestration.workflow.executor import done, failed, plan_of, run, tool


def _ready(plan: Any, results: dict[str, StepResult], given: Any = None) -> list[str]:
    return [step.path for step in advance(plan, given, results).ready]


def _branch(then: list[str], otherwise: list[str] | None = None, **more: Any) -> dict[str, Any]:
    arm = {"if": "${{ input.yes }}", "then": then}
    return {"branch": {"when": [arm], "else": otherwise or []}, **more}


def _map(do: Any, over: Any = "${{ input }}", **more: Any) -> dict[str, Any]:
    options = {key: more.pop(key) for key in ("max_items", "parallel") if key in more}
    return {"map": {"over": over, "do": do, **options}, **more}


DIAMOND = plan_of({"end": tool(["l", "r"]), "l": tool(["top"]), "r": tool(["top"]), "top": tool()})


def test_a_diamond_starts_its_last_node_once_when_both_have_ended() -> None:
    assert _ready(DIAMOND, {}) == ["top"]
    assert _ready(DIAMOND, {"top": done()}) == ["l", "r"]
    assert _ready(DIAMOND, {"top": done(), "l": done()}) == ["r"]
    assert _ready(DIAMOND, {"top": done(), "r": done()}) == ["l"]
    assert _ready(DIAMOND, {"top": done(), "r": done(), "l": done()}) == ["end"]
    results = {name: done(name) for name in ("top", "r", "l", "end")}
    assert advance(DIAMOND, None, results).end == WorkflowEnd("Success", "end")


def test_what_runs_already_is_not_given_again() -> None:
    state = advance(DIAMOND, None, {"top": done()}, running={"l"})
    assert [step.path for step in state.ready] == ["r"]
    assert state.end is None


def test_results_of_unknown_steps_do_no_harm() -> None:
    assert _ready(DIAMOND, {"nope": done(), "top[3]": failed()}) == ["top"]


def test_a_step_has_all_that_a_worker_needs() -> None:
    plan = plan_of(
        {
            "a": tool(
                arguments={"n": "${{ input.n }}"},
                key="lab-${{ input.n }}",
                timeout_s=9,
                retry={"max_attempts": 2},
            ),
            "b": {"agent": {"template": "t", "input": "${{ input }}"}},
            "c": {"agent": {"task": "Count to ${{ input.n }}."}},
        }
    )
    a, b, c = advance(plan, {"n": 3}, {}).ready
    assert (a.kind, a.target, a.arguments, a.key) == ("tool", "server.tool", {"n": 3}, "lab-3")
    assert (a.timeout_s, a.retry.max_attempts if a.retry else 0) == (9, 2)
    assert (b.kind, b.target, b.arguments, b.task) == ("agent", "t", {"n": 3}, None)
    assert (c.kind, c.target, c.arguments, c.task) == ("agent", None, {}, "Count to 3.")


def _sandbox_step(sandbox: dict[str, Any], given: Any) -> ReadyStep:
    (step,) = advance(plan_of({"a": {"sandbox": sandbox}}), given, {}).ready
    return step


def test_values_reach_the_sandbox_as_data() -> None:
    evil = "'); import os  # \u2028 \" \\ ${{ x }}"
    step = _sandbox_step({"code": "found = inputs", "input": {"x": "${{ input }}"}}, evil)
    names: dict[str, Any] = {}
    exec(step.arguments["code"], names)
    assert names["found"] == {"x": evil}
    files = [{"name": "a.fa", "file_id": "${{ input }}"}]
    step = _sandbox_step(
        {"code": "f'${{1}}'", "input_files": files, "requirements": ["numpy"]}, "id"
    )
    assert step.arguments == {
        "code": "f'${{1}}'",
        "requirements": ["numpy"],
        "input_files": [{"name": "a.fa", "file_id": "id"}],
    }
    assert _sandbox_step({"code": "${{ input }}"}, "1 + 1").arguments["code"] == "1 + 1"


ARMS = {
    "yes": {"yes": True},
    "no": {"yes": False},
}


@pytest.mark.parametrize(
    ("nodes", "if_yes", "if_no"),
    [
        # An arm and what follows it.
        ({"b": _branch(["a"]), "a": tool(), "c": tool(["a"]), "d": tool(["c"])}, "acd", ""),
        # The arms meet again.
        ({"b": _branch(["a"], ["z"]), "a": tool(), "z": tool(), "j": tool(["a", "z"])}, "aj", "zj"),
        # A node after an arm that also reads something from before the branch.
        (
            {
                "s": tool(),
                "b": _branch(["a"], after=["s"]),
                "a": tool(),
                "c": tool(["a", "s"]),
            },
            "sac",
            "s",
        ),
        # ... or something beside it.
        ({"s": tool(), "b": _branch(["a"]), "a": tool(), "c": tool(["a", "s"])}, "asc", "s"),
        # If without else: the other way leads straight to where the arms meet.
        ({"b": _branch(["a"], ["c"]), "a": tool(), "c": tool(["a"])}, "ac", "c"),
        # After the branch itself, in no arm.
        ({"b": _branch(["a"]), "a": tool(), "c": tool(["b"])}, "ac", "c"),
        # A node in both arms.
        ({"b": _branch(["a", "x"], ["x"]), "a": tool(), "x": tool()}, "ax", "x"),
        # A branch in an arm, both ways leading to one node.
        (
            {
                "b": _branch(["x"], ["c"]),
                "c": {"branch": {"when": [{"if": "${{ `true` }}", "then": ["x"]}]}},
                "x": tool(),
            },
            "x",
            "x",
        ),
        # A skipped branch skips what it would have chosen.
        ({"b": _branch(["c"]), "c": _branch(["x"], ["y"]), "x": tool(), "y": tool()}, "x", ""),
        # Two branches that have nothing to do with each other must both choose a node.
        (
            {
                "b": _branch(["x"]),
                "c": {"branch": {"when": [{"if": "${{ `true` }}", "then": ["x"]}]}},
                "x": tool(),
            },
            "x",
            "",
        ),
        # Nested arms meet in one node.
        (
            {
                "b": _branch(["c"], ["z"]),
                "c": _branch(["x"], ["y"]),
                "x": tool(),
                "y": tool(),
                "z": tool(),
                "j": tool(["x", "y", "z"]),
            },
            "xj",
            "zj",
        ),
    ],
)
def test_arms(nodes: dict[str, Any], if_yes: str, if_no: str) -> None:
    plan = plan_of(nodes)
    work = {name for name, node in nodes.items() if "tool" in node}
    for given, expected in ((ARMS["yes"], if_yes), (ARMS["no"], if_no)):
        finished = run(plan, given, lambda step: done(step.path))
        assert finished.end.status == "Success"
        assert sorted(finished.paths) == sorted(expected)
        assert work - set(finished.skipped) == set(expected)


def test_the_first_true_arm_is_taken_and_the_choice_is_told() -> None:
    whens = [{"if": f"${{{{ input.{name} }}}}", "then": [name]} for name in ("p", "q")]
    plan = plan_of({"b": {"branch": {"when": whens}}, "p": tool(), "q": tool()})
    for given, arm, then in (
        ({"p": 0, "q": 1}, 0, ["p"]),
        ({"p": "", "q": [1]}, 1, ["q"]),
        ({"p": False, "q": {}}, "else", []),
    ):
        state = advance(plan, given, {})
        assert state.settled == {"b": StepResult("Success", {"arm": arm, "then": then})}
        # A stored choice stands, whatever the input says now.
        assert _ready(plan, state.settled, {"p": True}) == then


def test_a_map_gives_its_items_out_a_few_at_a_time_and_its_output_in_order() -> None:
    plan = plan_of({"m": _map(tool(arguments={"i": "${{ item }}-${{ index }}"}), parallel=2)})
    state = advance(plan, "abc", {})
    assert state.end is not None
    assert state.end.status == "Failed"
    first = advance(plan, ["a", "b", "c"], {})
    assert [(step.path, step.arguments["i"]) for step in first.ready] == [
        ("m[0]", "a-0"),
        ("m[1]", "b-1"),
    ]
    assert _ready(plan, {"m[1]": done()}, ["a", "b", "c"]) == ["m[0]", "m[2]"]
    results = {f"m[{i}]": done(i) for i in (2, 0, 1)}
    end = advance(plan, ["a", "b", "c"], results)
    assert end.end == WorkflowEnd("Success", [0, 1, 2])
    assert end.settled["m"].output == [0, 1, 2]
    assert advance(plan, [], {}).end == WorkflowEnd("Success", [])
    stored = advance(plan, ["a", "b", "c"], {"m": end.settled["m"]})
    assert stored.end == WorkflowEnd("Success", [0, 1, 2])


def test_a_map_refuses_more_items_than_it_said() -> None:
    plan = plan_of({"m": _map(tool(), max_items=2)})
    end = advance(plan, [1, 2, 3], {}).end
    assert end is not None
    assert end.error is not None
    assert "max_items" in end.error["message"]
    assert end.error["details"] == {"at": "/nodes/m", "step": "m"}


def test_an_item_that_fails_ends_the_map_unless_it_may_fail() -> None:
    plan = plan_of({"m": _map(tool()), "n": tool(["m"])})
    state = advance(plan, [1, 2, 3], {"m[1]": failed("tool_failed")})
    assert state.ready == []
    assert state.end is not None
    assert state.end.error == {
        "code": "tool_failed",
        "message": "It broke.",
        "details": {"step": "m[1]"},
    }
    plan = plan_of(
        {"m": _map(tool(on_error="continue"))},
        output={"all": "${{ steps.m.output }}", "bad": "${{ steps.m.errors[].index }}"},
    )
    results = {"m[0]": done("a"), "m[1]": failed(), "m[2]": done("c")}
    end = advance(plan, [1, 2, 3], results).end
    assert end == WorkflowEnd("Success", {"all": ["a", None, "c"], "bad": [1]})


def test_a_map_may_fail_as_a_whole() -> None:
    nodes = {"m": _map(tool(), on_error="continue"), "n": tool(["m"])}
    plan = plan_of(nodes, output="${{ steps.m.error.details.step }}")
    finished = run(plan, [1, 2], {"m[0]": failed(), "m[1]": 1, "n": 2})
    assert finished.end == WorkflowEnd("Success", "m[0]")
    assert "n" in finished.paths


def test_a_failure_that_others_see_does_not_depend_on_which_step_ends_first() -> None:
    plan = plan_of({"m": _map(tool(), on_error="continue"), "n": tool(["m"])})
    late = {"m[1]": failed(message="second")}
    assert _ready(plan, late, [1, 2, 3]) == ["m[0]"]
    state = advance(plan, [1, 2, 3], {**late, "m[0]": failed(message="first")})
    assert state.settled["m"].error == {
        "code": "tool_failed",
        "message": "first",
        "details": {"step": "m[0]"},
    }
    sub = {"nodes": {"x": tool(), "y": tool(), "z": tool(["x"])}, "on_error": "continue"}
    plan = plan_of({"m": _map(sub)}, output="${{ steps.m.errors[].error.details.step }}")
    assert _ready(plan, {"m[0].y": failed()}, [1]) == ["m[0].x"]
    end = advance(plan, [1], {"m[0].y": failed(), "m[0].x": done()}).end
    assert end == WorkflowEnd("Success", ["m[0].y"])


SUB = {
    "nodes": {
        "x": tool(arguments={"v": "${{ item }}", "from": "${{ steps.s.output }}"}),
        "b": {"branch": {"when": [{"if": "${{ steps.x.output.go }}", "then": ["y"]}]}},
        "y": tool(arguments={"i": "${{ index }}", "p": "${{ steps.x.output.v }}"}),
    },
    "output": "${{ [steps.x.output.v, steps.y.status] }}",
}


def test_a_sub_definition_is_a_small_workflow_for_every_item() -> None:
    plan = plan_of({"s": tool(), "m": _map(SUB, parallel=1), "t": tool(["m"])})
    answers = {
        "s": "S",
        "m[0].x": {"go": True, "v": "zero"},
        "m[0].y": 1,
        "m[1].x": {"go": False, "v": "one"},
        "t": "T",
    }
    finished = run(plan, ["p", "q"], answers)
    assert finished.paths == ["s", "m[0].x", "m[0].y", "m[1].x", "t"]
    assert finished.step("m[1].x").arguments == {"v": "q", "from": "S"}
    assert finished.step("m[0].y").arguments == {"i": 0, "p": "zero"}
    assert finished.skipped == ["m[1].y"]
    state = advance(plan, ["p", "q"], {k: v for k, v in finished.results.items() if k != "t"})
    assert state.settled["m"].output == [["zero", "Success"], ["one", "Skipped"]]


def test_an_item_of_a_sub_definition_may_fail() -> None:
    sub = {**SUB, "on_error": "continue"}
    plan = plan_of({"s": tool(), "m": _map(sub)}, output="${{ steps.m }}")
    answers = {"s": 1, "m[0].x": failed(), "m[1].x": {"v": 1}}
    end = run(plan, ["p", "q"], answers).end
    assert end.output["output"] == [None, [1, "Skipped"]]
    assert end.output["errors"][0]["index"] == 0
    assert end.output["errors"][0]["error"]["details"] == {"step": "m[0].x"}


def test_maps_in_maps_know_the_item_around() -> None:
    inner = _map(
        tool(arguments={"v": "${{ [parent.item.n, parent.index, item, index] }}"}), "${{ item.l }}"
    )
    plan = plan_of({"m": _map(inner)})
    given = [{"n": "a", "l": [7, 8]}, {"n": "b", "l": []}]
    finished = run(plan, given, lambda step: done(step.arguments["v"]))  # type: ignore[union-attr]
    assert finished.paths == ["m[0][0]", "m[0][1]"]
    assert finished.end.output == [[["a", 0, 7, 0], ["a", 0, 8, 1]], []]
    third = _map(tool(arguments={"v": "${{ parent.parent.item }}"}), [1], max_items=9)
    plan = plan_of({"m": _map(_map(third, [5], max_items=9), ["outer"], max_items=9)})
    finished = run(plan, None, lambda step: done(step.arguments["v"]))  # type: ignore[union-attr]
    assert finished.end.output == [[["outer"]]]


def test_a_failure_ends_the_workflow_and_nothing_more_is_given_out() -> None:
    plan = plan_of({"a": tool(), "b": tool(), "w": {"wait": {"seconds": 1}}, "c": tool(["a"])})
    state = advance(plan, None, {"b": failed("tool_timeout")})
    assert (state.ready, state.waiting) == ([], [])
    assert state.end is not None
    assert (state.end.status, state.end.output) == ("Failed", None)
    assert state.end.error == {
        "code": "tool_timeout",
        "message": "It broke.",
        "details": {"step": "b"},
    }
    bare = advance(plan, None, {"b": StepResult("Failed")}).end
    assert bare is not None
    assert bare.error is not None
    assert bare.error["code"] == "internal"


def test_a_failure_that_is_allowed_is_seen_by_what_follows() -> None:
    nodes = {
        "a": tool(on_error="continue"),
        "b": tool(arguments={"s": "${{ steps.a.status }}", "c": "${{ steps.a.error.code }}"}),
    }
    finished = run(plan_of(nodes), None, {"a": failed("no_guide"), "b": "B"})
    assert finished.step("b").arguments == {"s": "Failed", "c": "no_guide"}
    assert finished.end == WorkflowEnd("Success", "B")


@pytest.mark.parametrize(
    "node",
    [
        tool(arguments={"x": "${{ length(input.n) }}"}),
        tool(arguments="${{ input.n }}"),
        tool(key="${{ input.long }}"),
        {"agent": {"task": "${{ input.none }}"}},
        {"sandbox": {"code": "${{ input.n }}"}},
        {"wait": {"seconds": "${{ input.long }}"}},
        {"wait": {"seconds": "${{ `-1` }}"}},
        {"wait": {"until": "${{ input.n }}"}},
        _map(tool(), "${{ input.n }}"),
    ],
)
def test_an_expression_that_fails_fails_its_step(node: dict[str, Any]) -> None:
    given = {"n": 3, "none": None, "long": "x" * 201}
    end = advance(plan_of({"a": node}), given, {}).end
    assert end is not None
    assert end.error is not None
    assert end.error["code"] == "invalid_input"
    assert end.error["details"] == {"at": "/nodes/a", "step": "a"}
    plan = plan_of({"a": {**node, "on_error": "continue"}, "b": tool(["a"])})
    state = advance(plan, given, {})
    assert state.settled["a"].status == "Failed"
    assert [step.path for step in state.ready] == ["b"]


def test_a_branch_or_an_output_that_fails_ends_the_workflow() -> None:
    branch = {"branch": {"when": [{"if": "${{ length(input) }}", "then": []}]}}
    end = advance(plan_of({"b": branch}), 3, {}).end
    assert end is not None
    assert end.status == "Failed"
    end = advance(plan_of({"a": tool()}, output="${{ length(input) }}"), 3, {"a": done()}).end
    assert end is not None
    assert end.error is not None
    assert end.error["details"] == {"at": "output"}


def test_waiting_is_for_time_or_a_person() -> None:
    form = {"type": "object", "required": ["ok"]}
    ask = {"title": "Really ${{ input.what }}?", "form": form, "timeout_s": 60}
    nodes = {
        "t": {"wait": {"seconds": "${{ input.s }}"}},
        "u": {"wait": {"until": "${{ input.u }}"}},
        "p": {"wait": {"approval": ask}},
        "end": tool(["t", "u", "p"], arguments={"ok": "${{ steps.p.output.ok }}"}),
    }
    given = {"s": 5, "u": "2030-01-01T00:00:00Z", "what": "sure"}
    t, u, p = advance(plan_of(nodes), given, {}).waiting
    assert (t.path, t.seconds, u.path, str(u.until)) == ("t", 5, "u", "2030-01-01 00:00:00+00:00")
    assert (p.title, p.form, p.timeout_s) == ("Really sure?", form, 60)
    assert advance(plan_of(nodes), given, {}, running={"t", "u", "p"}).waiting == []
    finished = run(plan_of(nodes), given, {"t": None, "u": None, "p": {"ok": 1}, "end": 2})
    assert finished.step("end").arguments == {"ok": 1}


def test_the_output_without_an_expression_is_that_of_the_last_nodes() -> None:
    two = plan_of({"a": tool(), "b": tool(["a"]), "c": tool(["a"])})
    assert run(two, None, {"a": 1, "b": 2, "c": 3}).end.output == {"b": 2, "c": 3}
    arms = plan_of({"x": _branch(["b"], ["c"]), "b": tool(), "c": tool()})
    assert run(arms, ARMS["no"], {"c": 3}).end.output == {"c": 3}
    none = plan_of({"x": _branch(["b"]), "b": tool()})
    assert run(none, ARMS["no"], {}).end.output is None
