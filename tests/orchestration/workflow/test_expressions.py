"""Expressions: what they see, what is refused at once, and that no bomb goes off."""

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.orchestration.workflow.expressions import (
    Budget,
    Expression,
    ExpressionError,
    compile_expression,
)
from app.orchestration.workflow.values import compile_value

SCOPE = {
    "input": {"n": 3, "list": [1, 2, 3], "name": "HBB", "none": None},
    "steps": {"a": {"status": "Success", "output": {"x": [{"y": 1}, {"y": 2}]}}},
    "item": {"id": 7},
    "index": 2,
}


def _value(text: str) -> Any:
    return compile_expression(text).evaluate(SCOPE, Budget())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("input.n", 3),
        ("input.missing.deeper", None),
        ("input.name.deeper", None),
        ("steps.a.output.x[*].y", [1, 2]),
        ("steps.a.output.x[?y > `1`].y | [0]", 2),
        ("sum(input.list)", 6),
        ("item.id == `7` && index == `2`", True),
        ("{n: input.n, s: steps.a.status}", {"n": 3, "s": "Success"}),
        ("input.none || 'else'", "else"),
        ("!(input.none)", True),
        ("sort_by(steps.a.output.x, &y)[-1].y", 2),
        ("input", SCOPE["input"]),
    ],
)
def test_a_value(text: str, value: Any) -> None:
    assert _value(text) == value


@pytest.mark.parametrize(
    ("text", "steps", "inputs"),
    [
        ("steps.a.output", {"a"}, set()),
        ("steps.a.output.x[0] == steps.b.output", {"a", "b"}, set()),
        ("(steps).a", {"a"}, set()),
        ('steps."a".output', {"a"}, set()),
        ("[steps.a.output, input.n]", {"a"}, {"n"}),
        ("{x: steps.a.output} | x.steps.q", {"a"}, set()),
        ("input.rows[?steps.q].input", set(), {"rows"}),
        ("input.rows[*].x || input", set(), {"rows", None}),
        ("input.*.x", set(), {None}),
        ("input.[a, b]", set(), {None}),
        ("map(&steps.q, steps.a.output)", {"a"}, set()),
        ("length(input.rows[].cells[])", set(), {"rows"}),
    ],
)
def test_what_an_expression_names(text: str, steps: set[str], inputs: set[str]) -> None:
    found = compile_expression(text)
    assert (found.steps, found.inputs) == (steps, inputs)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("input..x", "Parse error"),
        ("input.", "Incomplete|Parse error|Invalid"),
        ("foo", "no 'foo' here"),
        ("steps", "followed by a step's name"),
        ("steps.*", "followed by a step's name"),
        ("keys(steps)", "followed by a step's name"),
        ("@", "'@' is everything"),
        ("@.input", "'@' is everything"),
        ("[0]", "'@' is everything"),
        ("*", "'@' is everything"),
        ("!input.x", "write '!"),
        ("!steps.a.output[0]", "write '!"),
        ("input.n > 3", "Parse error|invalid"),
        ("nope(input)", "no function nope"),
        ("length(input.list, input.n)", "takes 1 arguments"),
        ("input.list[::0]", "step is not 0"),
        ("input" + ".x" * 3000, "at most 4096 characters"),
        ("`foo`", "is no JSON"),
        ("input.n == `1 2`", "is no JSON"),
        ("input" + "|@" * 100, "nests at most"),
        ("(" * 2000 + "input" + ")" * 2000, "nested too deeply"),
        ("[" * 2000 + "input" + "]" * 2000, "nested too deeply"),
    ],
)
def test_what_does_not_compile(text: str, says: str) -> None:
    with pytest.raises(ExpressionError, match=says):
        compile_expression(text)


@pytest.mark.parametrize(
    "text",
    [
        "length(input.n)",
        "sum([input.name])",
        "&input.n",
        "[&input.n]",
        "to_number('1e999')",
        "to_number('nan')",
        "avg([to_number('" + "9" * 400 + "'), `1`])",
        "input.n < input.name",
    ],
)
def test_what_cannot_be_evaluated(text: str) -> None:
    with pytest.raises(ExpressionError):
        _value(text)


DOUBLES = " | ".join(["[@, @]"] * 60)


@pytest.mark.parametrize(
    "text",
    [
        f"input | {DOUBLES}",
        "input.list | " + " | ".join(["[@, @][]"] * 60),
        "input.name | " + " | ".join(["join('', [@, @])"] * 60),
        f"input | {DOUBLES} | to_string(@)",
        f"[[input] | {DOUBLES}, [input] | {DOUBLES}] | [0] == [1]",
        "input.list | " + " | ".join(["map(&[@, @, @, @, @, @], @)"] * 30),
        "input.list | " + " | ".join(["[*].[@, @]"] * 60),
    ],
)
def test_a_bomb_runs_out_of_budget(text: str) -> None:
    with pytest.raises(ExpressionError, match="too much work"):
        _value(text)


def test_a_budget_holds_for_all_expressions_of_a_step() -> None:
    budget, scope = Budget(100), {"input": list(range(40))}
    value = compile_value(["${{ input }}"] * 5, _refuse)
    with pytest.raises(ExpressionError, match="too much work"):
        value.resolve(lambda each: each.evaluate(scope, budget), budget)


def _refuse(place: Any, reason: str) -> None:
    raise AssertionError((place, reason))


def _resolve(raw: Any) -> Any:
    budget = Budget()
    return compile_value(raw, _refuse).resolve(lambda each: each.evaluate(SCOPE, budget), budget)


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("plain", "plain"),
        ("${{ input.n }}", 3),
        ("${{input.list}}", [1, 2, 3]),
        ("n=${{ input.n }}", "n=3"),
        ("${{ input.name }}-${{ input.list }}", "HBB-[1,2,3]"),
        ("${{ input.none }}.", "null."),
        ("$${{ input.n }}", "${{ input.n }}"),
        ("$${{ ${{ input.n }}", "${{ 3"),
        ("$ {{ x }} $", "$ {{ x }} $"),
        ("${{ {a: {b: input.n}} }}", {"a": {"b": 3}}),
        ("${{ '}}' }}", "}}"),
        ("${{ '\\'}}' }}", "'}}"),
        ('${{ input."n}}" }}', None),
        ('${{ `{"a": {"b": 1}}` }}', {"a": {"b": 1}}),
        (
            {"${{ input.n }}": ["${{ input.n }}", {"k": "$${{"}]},
            {"${{ input.n }}": [3, {"k": "${{"}]},
        ),
        ({"k": ["$${{ x"]}, {"k": ["${{ x"]}),
        ([1, None, True, 2.5], [1, None, True, 2.5]),
    ],
)
def test_a_value_with_expressions(raw: Any, value: Any) -> None:
    found = _resolve(raw)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("raw", ["${{ input", "${{ input }", "${{ 'a }}", "a ${{ {x: input }}"])
def test_what_is_not_closed_is_reported(raw: str) -> None:
    found: list[tuple[Any, str]] = []
    compile_value({"k": [raw]}, lambda place, reason: found.append((place, reason)))
    assert [place for place, _ in found] == [("k", 0)]
    assert "closed" in found[0][1]


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(_json)
def test_a_whole_expression_keeps_the_type(value: Any) -> None:
    budget = Budget()
    compiled = compile_value("${{ input }}", _refuse)
    assert compiled.resolve(lambda each: each.evaluate({"input": value}, budget), budget) == value


@given(st.text(max_size=40))
def test_any_text_can_be_written(text: str) -> None:
    """Escaping every opening brings the text back as it was."""
    assert _resolve(text.replace("${{", "$${{")) == text


@given(st.text("$abinpuse.[]{}()|&!@*,:'\"`0 -", max_size=30))
def test_compiling_never_fails_otherwise(text: str) -> None:
    try:
        found = compile_expression(text)
    except ExpressionError:
        return
    assert isinstance(found, Expression)
    with contextlib.suppress(ExpressionError):
        found.evaluate(SCOPE, Budget(10_000))
