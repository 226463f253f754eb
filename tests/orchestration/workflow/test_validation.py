"""Every mistake is found, with its place and its code."""

import json
from typing import Any

import pytest

from app.kernel.errors import AppError, Code
from app.orchestration.workflow import Plans, check, check_answer, check_input, limits, read
from app.orchestration.workflow.definition import Retry
from tests.orchestration.workflow.executor import plan_of, tool


def _mistakes(nodes: Any, **more: Any) -> list[tuple[str, str]]:
    with pytest.raises(AppError) as caught:
        plan_of(nodes, **more)
    errors = caught.value.details["errors"]
    assert caught.value.details["pointer"] == errors[0]["pointer"]
    assert caught.value.details["count"] >= len(errors)
    assert all(error["message"] for error in errors)
    return [(error["pointer"], error["code"]) for error in errors]


def _uses(expression: str, **more: Any) -> dict[str, Any]:
    return tool(arguments={"x": f"${{{{ {expression} }}}}"}, **more)


def _map(do: Any, **more: Any) -> dict[str, Any]:
    return {"map": {"over": "${{ input }}", "do": do, **more}}


SHAPES = [
    ({"a": {"tool": "s.t", "argumnts": {}}}, ("/nodes/a/argumnts", "unknown_field")),
    ({"a": {}}, ("/nodes/a", "invalid_value")),
    ({"a": 3}, ("/nodes/a", "invalid_value")),
    ({"A": tool()}, ("/nodes/A", "bad_name")),
    ({"a/b": tool()}, ("/nodes/a~1b", "bad_name")),
    ({"<tool>": tool()}, ("/nodes/<tool>", "bad_name")),
    (
        {"a": {"branch": {"when": [{"if": "${{ input }}"}]}}},
        ("/nodes/a/branch/when/0/then", "missing_field"),
    ),
    ({"a": tool(after=["B"])}, ("/nodes/a/after/0", "invalid_value")),
    ({"a": _map({"nodes": {"b": {"tool": 1}}})}, ("/nodes/a/map/do/nodes/b/tool", "invalid_value")),
    ({"a": _map({"tool": "s.t", "x": 1})}, ("/nodes/a/map/do/x", "unknown_field")),
    ({"a": tool(title="a\0b")}, ("/nodes/a/title", "invalid_value")),
    ({"a": tool(meta={"a\0": 1})}, ("/nodes/a/meta", "invalid_value")),
]


@pytest.mark.parametrize(("nodes", "mistake"), SHAPES)
def test_a_wrong_shape(nodes: Any, mistake: tuple[str, str]) -> None:
    assert _mistakes(nodes) == [mistake]


GRAPHS = [
    ({"a": tool(after=["b"])}, ("/nodes/a/after/0", "unknown_reference")),
    ({"a": _uses("steps.b.output")}, ("/nodes/a/arguments/x", "unknown_reference")),
    ({"a": _uses("nope")}, ("/nodes/a/arguments/x", "bad_expression")),
    ({"a": _uses("item")}, ("/nodes/a/arguments/x", "unknown_reference")),
    ({"a": _map(_uses("parent.item"))}, ("/nodes/a/map/do/arguments/x", "unknown_reference")),
    ({"a": _uses("steps.a.output")}, ("/nodes/a", "cycle")),
    ({"a": tool(after=["b"]), "b": _uses("steps.a.status")}, ("/nodes/a", "cycle")),
    ({"a": _map(_uses("steps.a.output"))}, ("/nodes/a", "cycle")),
    (
        {"a": _uses("steps.inner.output"), "m": _map({"nodes": {"inner": tool()}})},
        ("/nodes/a/arguments/x", "not_upstream"),
    ),
    (
        {"m": _map({"nodes": {"x": tool()}}), "n": _map({"nodes": {"y": tool(after=["x"])}})},
        ("/nodes/n/map/do/nodes/y/after/0", "not_upstream"),
    ),
    ({"m": _map({"nodes": {"m": tool()}})}, ("/nodes/m/map/do/nodes/m", "duplicate_name")),
    ({"m": _map({"after": ["m"], **tool()})}, ("/nodes/m/map/do/after", "invalid_value")),
    (
        {"a": {"branch": {"when": [{"if": "${{ input }}", "then": ["z"]}]}}},
        ("/nodes/a/branch/when/0/then/0", "unknown_reference"),
    ),
    (
        {"a": {"branch": {"when": [{"if": "${{ input }}", "then": []}], "else": ["z"]}}},
        ("/nodes/a/branch/else/0", "unknown_reference"),
    ),
    (
        {"a": {"branch": {"when": [{"if": "${{ input }}x${{ input }}", "then": []}]}}},
        ("/nodes/a/branch/when/0/if", "invalid_value"),
    ),
    ({"a": tool(arguments="${{ input }}${{ input }}")}, ("/nodes/a/arguments", "invalid_value")),
    ({"a": {"wait": {"until": "tomorrow"}}}, ("/nodes/a/wait/until", "invalid_value")),
    ({"a": {"wait": {"until": "2030-01-01T00:00:00"}}}, ("/nodes/a/wait/until", "invalid_value")),
    (
        {"a": {"wait": {"approval": {"title": "t", "form": {"type": "nope"}}}}},
        ("/nodes/a/wait/approval/form", "bad_schema"),
    ),
    ({"a": tool(retry={"codes": ["no_such_code"]})}, ("/nodes/a/retry/codes/0", "unknown_code")),
    ({"a": tool(key="${{ x")}, ("/nodes/a/key", "bad_expression")),
]


@pytest.mark.parametrize(("nodes", "mistake"), GRAPHS)
def test_a_wrong_graph(nodes: Any, mistake: tuple[str, str]) -> None:
    assert _mistakes(nodes) == [mistake]


def test_every_mistake_is_listed_unknown_fields_first() -> None:
    found = _mistakes({"a": {"tool": ""}, "b": {"tool": "s.t", "x": 1}, "c": {"wait": {}}})
    assert found[0] == ("/nodes/b/x", "unknown_field")
    assert {pointer for pointer, _ in found} == {"/nodes/a/tool", "/nodes/b/x", "/nodes/c/wait"}
    with pytest.raises(AppError) as caught:
        plan_of({"b": {"tool": "s.t", "x": 1}})
    assert caught.value.code is Code.UNKNOWN_FIELD


def test_a_cycle_is_named_and_what_comes_after_it_is_unreachable() -> None:
    nodes = {
        "a": tool(["c"]),
        "b": tool(["a"]),
        "c": tool(["b"]),
        "d": tool(["c"]),
        "fine": tool(),
        "x": tool(["y"]),
        "y": tool(["x", "d"]),
    }
    with pytest.raises(AppError) as caught:
        plan_of(nodes)
    errors = caught.value.details["errors"]
    assert [(error["pointer"], error["code"]) for error in errors] == [
        ("/nodes/a", "cycle"),
        ("/nodes/x", "cycle"),
        ("/nodes/d", "unreachable"),
    ]
    assert any("a -> b -> c -> a" in error["message"] for error in errors)


def test_an_arm_that_leads_back_to_its_branch_is_a_cycle() -> None:
    branch = {"branch": {"when": [{"if": "${{ steps.a.output }}", "then": ["a"]}]}}
    assert _mistakes({"b": branch, "a": tool()}) == [("/nodes/b", "cycle")]


def test_references_of_a_maps_body_make_the_map_wait() -> None:
    plan = plan_of({"m": _map({"nodes": {"x": _uses("steps.late.output")}}), "late": tool()})
    assert [node.name for node in plan.root.nodes] == ["late", "m"]


def test_a_tool_or_template_that_cannot_be_resolved() -> None:
    def missing(name: str) -> None:
        raise AppError(Code.TOOL_UNKNOWN, f"There is no tool {name}.", hint="Look again.")

    def no_template(name: str) -> None:
        raise AppError(Code.TEMPLATE_UNKNOWN, f"There is no template {name}.")

    raw = {
        "workflow": 1,
        "nodes": {
            "a": _map(tool()),
            "b": {"agent": {"template": "t"}},
            "c": {"agent": {"task": "x"}},
        },
    }
    with pytest.raises(AppError) as caught:
        check(raw, tool=missing, template=no_template)
    assert caught.value.details["errors"] == [
        {
            "pointer": "/nodes/a/map/do/tool",
            "code": "tool_unknown",
            "message": "There is no tool server.tool. Look again.",
        },
        {
            "pointer": "/nodes/b/agent/template",
            "code": "template_unknown",
            "message": "There is no template t.",
        },
    ]


def _nested(depth: int, **more: Any) -> dict[str, Any]:
    return tool() if depth == 0 else _map(_nested(depth - 1), **more)


def test_limits() -> None:
    most = {f"n{i}": tool() for i in range(limits.NODES)}
    assert plan_of(most).size == limits.NODES
    assert _mistakes({**most, "more": tool()}) == [("/nodes", "too_many_nodes")]
    assert plan_of({"m": _map(tool(), max_items=1000)}).size == 1000
    wide = _map({"nodes": {f"n{i}": tool() for i in range(10)}}, max_items=1000)
    assert plan_of({"m": wide}).size == 10_000
    assert _mistakes({"m": wide, "n": tool()}) == [("/nodes", "too_many_steps")]
    deep = {
        "map": {
            "over": [],
            "max_items": 2,
            "do": {
                "map": {
                    "over": [],
                    "max_items": 2,
                    "do": {"map": {"over": [], "max_items": 2, "do": tool()}},
                }
            },
        }
    }
    assert plan_of({"m": deep}).size == 8
    four = {"m": {"map": {"over": [], "max_items": 1, "do": deep}}}
    assert _mistakes(four) == [("/nodes/m/map/do/map/do/map/do/map", "too_deep")]
    nested: Any = 1
    for _ in range(limits.JSON_DEPTH):
        nested = [nested]
    assert _mistakes({"a": tool(arguments={"x": nested})}) == [("/nodes/a/arguments", "too_deep")]
    for _ in range(1000):
        nested = [nested]
    assert _mistakes({"a": tool(arguments={"x": nested})}) == [("", "invalid_value")]


def test_a_definition_that_is_too_large() -> None:
    with pytest.raises(AppError) as caught:
        plan_of({"a": tool(arguments={"x": "a" * limits.DEFINITION_BYTES})})
    assert caught.value.code is Code.PAYLOAD_TOO_LARGE
    with pytest.raises(AppError) as caught:
        read(b" " * (limits.DEFINITION_BYTES + 1))
    assert caught.value.code is Code.PAYLOAD_TOO_LARGE


@pytest.mark.parametrize("raw", [None, [], "x", 3, {"workflow": object()}, {3: 4}, {"workflow": 1}])
def test_what_is_no_definition_at_all(raw: Any) -> None:
    with pytest.raises(AppError) as caught:
        check(raw, tool=str, template=str)
    assert caught.value.code is Code.INVALID_INPUT


def test_a_name_that_stands_twice_is_refused_in_the_text() -> None:
    with pytest.raises(AppError) as caught:
        read(b'{"workflow": 1, "nodes": {"a": {"tool": "x"}, "a": {"tool": "y"}}}')
    assert caught.value.details["errors"][0]["code"] == "duplicate_name"
    with pytest.raises(AppError):
        read(b"{")
    with pytest.raises(AppError):
        read(b"[" * 100_000)
    with pytest.raises(AppError):
        read(b'"\xff"')
    assert read(json.dumps({"a": [1]})) == {"a": [1]}


def test_the_input_is_checked_against_its_schema() -> None:
    schema = {
        "type": "object",
        "required": ["n"],
        "additionalProperties": False,
        "properties": {"n": {"type": "integer"}},
    }
    plan = plan_of({"a": tool()}, input_schema=schema)
    check_input(plan, {"n": 1})
    check_input(plan_of({"a": tool()}), object())
    with pytest.raises(AppError) as caught:
        check_input(plan, {"n": "1"})
    assert caught.value.details["errors"][0]["pointer"] == "/n"
    with pytest.raises(AppError) as caught:
        check_input(plan, {"n": 1, "x": 2})
    assert (caught.value.code, caught.value.details["pointer"]) == (Code.UNKNOWN_FIELD, "/x")
    assert _mistakes({"a": tool()}, input_schema={"type": 3}) == [("/input_schema", "bad_schema")]
    remote = {"$ref": "https://example.org/schema.json"}
    assert _mistakes({"a": tool()}, input_schema=remote) == [("/input_schema", "bad_schema")]


def test_an_answer_is_checked_against_its_form() -> None:
    form = {"type": "object", "required": ["ok"], "properties": {"ok": {"type": "boolean"}}}
    check_answer(form, {"ok": True})
    with pytest.raises(AppError) as caught:
        check_answer(form, {})
    assert caught.value.code is Code.INVALID_INPUT


def test_plans_are_kept_within_their_room() -> None:
    plans = Plans(room=200)
    raw = {"workflow": 1, "nodes": {"a": tool()}}
    first = plans.get(raw)
    assert plans.get(json.loads(json.dumps(raw))) is first
    for i in range(10):
        plans.get({"workflow": 1, "nodes": {f"b{i}": tool()}})
    assert plans.get(raw) is not first
    assert plans.get({"workflow": 1, "nodes": {"a": tool(title="x" * 190)}}).size == 1
    with pytest.raises(AppError):
        plans.get({"workflow": 1, "nodes": {}})


@pytest.mark.parametrize(
    ("retry", "failures", "code", "is_retryable", "delay"),
    [
        (Retry(), 1, "tool_timeout", True, 1.0),
        (Retry(), 2, "tool_timeout", True, 2.0),
        (Retry(), 3, "tool_timeout", True, None),
        (Retry(), 1, "tool_failed", False, None),
        (Retry(codes=["tool_failed"]), 1, "tool_failed", False, 1.0),
        (Retry(codes=["tool_failed"]), 1, "tool_timeout", True, None),
        (Retry(max_attempts=20, backoff_s=3600), 19, "tool_timeout", True, 3600.0),
    ],
)
def test_when_a_step_is_tried_again(
    retry: Retry, failures: int, code: str, is_retryable: bool, delay: float | None
) -> None:
    assert retry.delay_after(failures, code, is_retryable=is_retryable) == delay
