"""An order finds what is wrong with what nodes give to their tools, before anything is held."""

from typing import Any

import pytest

from app.kernel.errors import AppError, Code
from app.orchestration.workflow.orders import Agreement, Offer, Order, order_workflow, targets_of
from tests.orchestration.workflow.executor import plan_of

SCHEMA = {
    "type": "object",
    "required": ["word"],
    "additionalProperties": False,
    "properties": {
        "word": {"type": "string", "minLength": 2},
        "n": {"type": "integer"},
        "deep": {
            "type": "object",
            "properties": {"x": {"type": "integer"}, "y": {"type": "integer"}},
            "additionalProperties": False,
        },
        "list": {"type": "array", "items": {"type": "integer"}, "maxItems": 2},
        "any": {"anyOf": [{"type": "string"}, {"type": "object", "required": ["a"]}]},
    },
}
LATER = "${{ input.x }}"


def find(target: str) -> Offer:
    if target == "tool:no.price":
        raise AppError(Code.PRICE_UNKNOWN, "No price is published.")
    return Offer(5, "v1", SCHEMA)


def order(nodes: dict[str, Any]) -> Order:
    raw = {"workflow": 1, "nodes": nodes}
    return order_workflow(raw, plan_of(nodes), find=find)


def mistakes(nodes: dict[str, Any]) -> list[tuple[str, str]]:
    try:
        order(nodes)
    except AppError as error:
        return [(one["pointer"], one["code"]) for one in error.details["errors"]]
    return []


def call(arguments: Any) -> dict[str, Any]:
    return {"a": {"tool": "s.a", "arguments": arguments}}


@pytest.mark.parametrize(
    ("arguments", "where", "code"),
    [
        ({}, "", "missing_field"),
        ({"word": "x"}, "/word", "invalid_value"),
        ({"word": "ok", "nope": LATER}, "/nope", "unknown_field"),
        ({"n": LATER}, "", "missing_field"),
        ({"word": LATER, "n": "1"}, "/n", "invalid_value"),
        ({"word": "ok", "deep": {"x": LATER, "y": "1"}}, "/deep/y", "invalid_value"),
        ({"word": "ok", "deep": {"z": LATER}}, "/deep/z", "unknown_field"),
        ({"word": "ok", "list": [LATER, "1"]}, "/list/1", "invalid_value"),
    ],
)
def test_what_no_value_could_mend(arguments: Any, where: str, code: str) -> None:
    assert mistakes(call(arguments)) == [("/nodes/a/arguments" + where, code)]


@pytest.mark.parametrize(
    "arguments",
    [
        LATER,
        {"word": LATER},
        {"word": "a ${{ input.x }}"},
        {"word": "ok", "n": LATER},
        {"word": "ok", "deep": LATER},
        {"word": "ok", "list": [LATER, 1]},
        {"word": "ok", "any": {"b": LATER}},
        {"word": "ok", "any": LATER},
    ],
)
def test_what_an_expression_may_still_make_right(arguments: Any) -> None:
    assert mistakes(call(arguments)) == []


def test_all_mistakes_are_told_at_once() -> None:
    nodes = {
        "a": {"tool": "s.a", "arguments": {"word": 1}},
        "b": {"tool": "no.price", "arguments": {"word": "ok"}},
        "m": {
            "map": {
                "over": [1],
                "do": {"agent": {"template": "t", "input": {"word": "ok", "z": 1}}},
            }
        },
    }
    found = mistakes(nodes)
    assert ("/nodes/a/arguments/word", "invalid_value") in found
    assert ("/nodes/b/tool", "price_unknown") in found
    assert ("/nodes/m/map/do/agent/input/z", "unknown_field") in found


def test_conditions_are_left_to_the_call() -> None:
    schema = {**SCHEMA, "if": {"properties": {"n": {"const": 1}}}, "then": {"required": ["list"]}}
    nodes = call({"word": "ok", "n": LATER})
    raw = {"workflow": 1, "nodes": nodes}
    order_workflow(raw, plan_of(nodes), find=lambda _: Offer(1, "v", schema))
    nodes = call({"word": "ok", "n": 1})
    with pytest.raises(AppError):
        order_workflow(raw, plan_of(nodes), find=lambda _: Offer(1, "v", schema))


def test_an_order_pins_prices_and_versions() -> None:
    nodes = {**call({"word": "ok"}), "box": {"sandbox": {"code": "1"}}}
    made = order(nodes)
    assert targets_of(made.plan) == {"tool:s.a", "tool:sandbox.run_python"}
    body = made.envelope({"x": 1}, Agreement(billing="usage", name="n", version=2)).as_dict()
    assert body["prices"] == {"tool:s.a": 5, "tool:sandbox.run_python": 5}
    assert body["pins"] == {"tool:s.a": "v1", "tool:sandbox.run_python": "v1"}
    assert (body["billing"], body["saved"]) == ("usage", {"name": "n", "version": 2})
    assert made.bound_micro(None) == 10
