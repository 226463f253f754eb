"""What a workflow job is refused for before it is queued."""

from datetime import UTC, datetime
from typing import Any

import pytest

from app.kernel.errors import AppError, Code
from app.orchestration import workflow_job

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("node", "pointer"),
    [
        ({"agent": {"template": "crispr_knockout"}}, "/nodes/n/agent"),
        ({"wait": {"approval": {"title": "Go on?"}}}, "/nodes/n/wait/approval"),
        ({"wait": {"seconds": 61}}, "/nodes/n/wait"),
        ({"wait": {"until": "2026-01-01T00:01:01Z"}}, "/nodes/n/wait"),
        ({"tool": "t.a", "key": "k"}, "/nodes/n/key"),
        ({"tool": "t.a", "retry": {"max_attempts": 20}}, "/nodes/n/retry"),
        ({"map": {"over": [1], "do": {"agent": {"task": "x"}}}}, "/nodes/n/map/do/agent"),
    ],
)
def test_what_cannot_run_is_refused_before_it_costs(node: dict[str, Any], pointer: str) -> None:
    raw = {"workflow": 1, "nodes": {"n": node}}
    with pytest.raises(AppError) as caught:
        workflow_job(raw, None, tool=str, template=str, now=NOW)
    assert caught.value.code is Code.INVALID_INPUT
    [error] = caught.value.details["errors"]
    assert (error["pointer"], error["code"]) == (pointer, "not_supported")


def test_an_input_that_does_not_fit_makes_no_job() -> None:
    raw = {
        "workflow": 1,
        "nodes": {"a": {"tool": "t.a"}},
        "input_schema": {"type": "object", "required": ["n"]},
    }
    with pytest.raises(AppError) as caught:
        workflow_job(raw, {}, tool=str, template=str, now=NOW)
    assert caught.value.code is Code.INVALID_INPUT
    assert workflow_job(raw, {"n": 1}, tool=str, template=str, now=NOW)["input"] == {"n": 1}
