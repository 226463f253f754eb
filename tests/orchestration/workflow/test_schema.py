"""The published schema is the code's, and agrees with it."""

from pathlib import Path
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator

from app.kernel.errors import AppError
from app.orchestration.workflow import check, definition_schema, schema_page
from app.orchestration.workflow.mistakes import MISTAKE_CODES

REFERENCE = Path(__file__).resolve().parents[3] / "docs" / "reference"


def test_the_file_is_what_the_code_says() -> None:
    written = (REFERENCE / "workflow.schema.json").read_text(encoding="utf-8")
    assert written == schema_page(), "run `make docs`"


def test_every_code_of_a_mistake_is_documented() -> None:
    page = (REFERENCE / "workflow.md").read_text(encoding="utf-8")
    assert [code for code in MISTAKE_CODES if f"| `{code}` |" not in page] == []


def _one(node: Any) -> dict[str, Any]:
    return {"workflow": 1, "nodes": {"a": node}}


GOOD = [
    _one({"tool": "s.t"}),
    _one({"tool": "s.t", "arguments": "${{ input }}", "meta": {"x": 1}, "title": "T"}),
    _one({"agent": {"task": "Look."}, "timeout_s": 5}),
    _one({"wait": {"seconds": 0}}),
    _one({"map": {"over": [1], "do": {"nodes": {"b": {"tool": "s.t"}}}}}),
    {**_one({"sandbox": {"code": "1"}}), "input_schema": {"type": "object"}, "output": None},
]
BAD = [
    {},
    {"workflow": 2, "nodes": {"a": {"tool": "s.t"}}},
    {"workflow": 1, "nodes": {}},
    {"workflow": 1, "nodes": {"A": {"tool": "s.t"}}},
    {**_one({"tool": "s.t"}), "extra": 1},
    _one({}),
    _one({"tool": "s.t", "agent": {"task": "x"}}),
    _one({"tool": "s.t", "argument": {}}),
    _one({"tool": "s.t", "arguments": "text"}),
    _one({"tool": "s.t", "after": ["A-B"]}),
    _one({"tool": "s.t", "on_error": "ignore"}),
    _one({"tool": "s.t", "retry": {"max_attempts": 0}}),
    _one({"tool": "s.t", "timeout_s": 0}),
    _one({"agent": {}}),
    _one({"agent": {"task": "x", "template": "y"}}),
    _one({"wait": {}}),
    _one({"wait": {"seconds": 1, "until": "2030-01-01T00:00:00Z"}}),
    _one({"wait": {"seconds": "1"}}),
    _one({"map": {"over": "x", "do": {"tool": "s.t"}}}),
    _one({"map": {"over": [], "max_items": 1001, "do": {"tool": "s.t"}}}),
    _one({"map": {"over": [], "do": {"branch": {"when": []}}}}),
    _one({"branch": {"when": []}}),
    _one({"branch": {"when": [{"if": "true", "then": []}]}}),
    _one({"sandbox": {"code": ""}}),
]


@pytest.mark.parametrize("raw", GOOD)
def test_what_the_schema_accepts_is_accepted(raw: Any) -> None:
    Draft202012Validator(definition_schema()).validate(raw)
    check(raw, tool=str, template=str)


@pytest.mark.parametrize("raw", BAD)
def test_what_the_schema_refuses_is_refused(raw: Any) -> None:
    assert not Draft202012Validator(definition_schema()).is_valid(raw)
    with pytest.raises(AppError):
        check(raw, tool=str, template=str)
