"""The fast case is recognised, and only where the plan would say the same."""

from typing import Any

import pytest

from app.orchestration.workflow import check, single_tool
from tests.orchestration.workflow.executor import run

ONE = {"workflow": 1, "nodes": {"call": {"tool": "server.tool", "arguments": {"a": [{"b": "c"}]}}}}


def test_one_plain_call_is_recognised() -> None:
    assert single_tool(ONE) == ("server.tool", {"a": [{"b": "c"}]})
    assert single_tool({"workflow": 1, "nodes": {"n": {"tool": "s.t"}}}) == ("s.t", {})


@pytest.mark.parametrize("definition", [ONE, {"workflow": 1, "nodes": {"n": {"tool": "s.t"}}}])
def test_the_long_way_gives_the_same_call_and_its_output(definition: dict[str, Any]) -> None:
    name = next(iter(definition["nodes"]))
    long_way = run(check(definition, tool=str, template=str), None, {name: {"x": 1}})
    step = long_way.step(name)
    assert (step.target, step.arguments) == single_tool(definition)
    assert long_way.end.output == {"x": 1}


@pytest.mark.parametrize(
    "definition",
    [
        {},
        {**ONE, "output": "${{ input }}"},
        {"workflow": 2, "nodes": ONE["nodes"]},
        {"workflow": 1, "nodes": []},
        {"workflow": 1, "nodes": {}},
        {"workflow": 1, "nodes": {"a": {"tool": "s.t"}, "b": {"tool": "s.t"}}},
        {"workflow": 1, "nodes": {"a": "s.t"}},
        {"workflow": 1, "nodes": {"Bad": {"tool": "s.t"}}},
        {"workflow": 1, "nodes": {"bad\n": {"tool": "s.t"}}},
        {"workflow": 1, "nodes": {"a": {"tool": 3}}},
        {"workflow": 1, "nodes": {"a": {"tool": ""}}},
        {"workflow": 1, "nodes": {"a": {"tool": "x" * 201}}},
        {"workflow": 1, "nodes": {"a": {"tool": "s.t", "arguments": []}}},
        {"workflow": 1, "nodes": {"a": {"tool": "s.t", "key": "k"}}},
        {"workflow": 1, "nodes": {"a": {"tool": "s.t", "arguments": {}, "retry": {}}}},
        {"workflow": 1, "nodes": {"a": {"agent": {"task": "x"}}}},
        {"workflow": 1, "nodes": {"a": {"tool": "s.t", "arguments": {"x": "${{ input }}"}}}},
        {"workflow": 1, "nodes": {"a": {"tool": "s.t", "arguments": {"x": [{"y": "$${{"}]}}}},
    ],
)
def test_anything_more_takes_the_long_way(definition: dict[str, Any]) -> None:
    assert single_tool(definition) is None
