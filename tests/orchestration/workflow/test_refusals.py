"""What a workflow job is refused for before it is queued."""

from typing import Any

import pytest

from app.kernel.errors import AppError, Code
from app.orchestration import workflow_job


@pytest.mark.parametrize(
    ("node", "pointer"),
    [
        ({"agent": {"task": "x"}}, "/nodes/n/agent/task"),
        ({"tool": "t.a", "key": "k"}, "/nodes/n/key"),
        ({"map": {"over": [1], "do": {"agent": {"task": "x"}}}}, "/nodes/n/map/do/agent/task"),
    ],
)
def test_what_cannot_run_is_refused_before_it_costs(node: dict[str, Any], pointer: str) -> None:
    raw = {"workflow": 1, "nodes": {"n": node}}
    with pytest.raises(AppError) as caught:
        workflow_job(raw, None, tool=str, template=str)
    assert caught.value.code is Code.INVALID_INPUT
    [error] = caught.value.details["errors"]
    assert (error["pointer"], error["code"]) == (pointer, "not_supported")


@pytest.mark.parametrize(
    "node",
    [
        {"agent": {"template": "crispr_knockout"}},
        {"wait": {"approval": {"title": "Go on?"}}},
        {"wait": {"seconds": 366 * 86_400}},
        {"tool": "t.a", "retry": {"max_attempts": 20}},
    ],
)
def test_what_takes_long_can_run(node: dict[str, Any]) -> None:
    raw = {"workflow": 1, "nodes": {"n": node}}
    assert workflow_job(raw, None, tool=str, template=str)["definition"] == raw


def test_an_input_that_does_not_fit_makes_no_job() -> None:
    raw = {
        "workflow": 1,
        "nodes": {"a": {"tool": "t.a"}},
        "input_schema": {"type": "object", "required": ["n"]},
    }
    with pytest.raises(AppError) as caught:
        workflow_job(raw, {}, tool=str, template=str)
    assert caught.value.code is Code.INVALID_INPUT
    assert workflow_job(raw, {"n": 1}, tool=str, template=str)["input"] == {"n": 1}
