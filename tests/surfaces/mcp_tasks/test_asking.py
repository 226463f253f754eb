"""Forms of questions as elicitation can ask them, and back."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from mcp_types import ElicitRequest

from app.kernel.errors import AppError
from app.surfaces.mcp.longtasks.asking import answer_of, request_of
from app.surfaces.workflows.views import QuestionOut


def question(form: dict[str, Any]) -> QuestionOut:
    return QuestionOut(
        job_id=UUID(int=1),
        path="ask",
        title="Well?",
        form=form,
        asked_at=datetime(2026, 1, 1, tzinfo=UTC),
        expires_at=None,
        answered_at=None,
    )


def schema_of(form: dict[str, Any]) -> dict[str, Any]:
    request = request_of(question(form))
    # The SDK's own model of the specification takes it.
    ElicitRequest.model_validate(request, by_name=False)
    return dict(request["params"]["requestedSchema"])


CHOICE = {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}, "minItems": 1}


@pytest.mark.parametrize(
    "field",
    [
        {"type": "string", "minLength": 1, "format": "email", "title": "To"},
        {"type": "integer", "minimum": 1, "maximum": 3, "default": 2},
        {"type": "boolean", "description": "Sure?"},
        {"type": "string", "enum": ["a", "b"]},
        {"type": "string", "oneOf": [{"const": "a", "title": "A"}]},
        CHOICE,
    ],
)
def test_flat_forms_are_asked_as_they_are(field: dict[str, Any]) -> None:
    form = {"type": "object", "properties": {"x": field}, "required": ["x"]}
    assert schema_of({**form, "additionalProperties": False}) == form
    assert answer_of(question(form), {"x": "y"}) == {"x": "y"}
    # The same alone is the field `answer`.
    assert schema_of(field)["properties"] == {"answer": field}
    assert answer_of(question(field), {"answer": 5}) == 5


@pytest.mark.parametrize(
    "form",
    [
        {"type": "object", "properties": {"x": {"type": "object"}}},
        {"type": "object", "properties": {"x": {"anyOf": [{"type": "string"}]}}},
        {"type": "object", "properties": {"x": {"type": ["string", "null"]}}},
        {"type": "object", "properties": {"x": {"type": "integer", "enum": [1]}}},
        {"type": "object", "properties": {"x": {"$ref": "#/$defs/y"}}},
        {"type": "object", "properties": {"x": True}},
        {"type": "object", "required": ["y"]},
        {"type": "object", "properties": {}, "anyOf": [{"required": ["a"]}]},
        {"type": "array", "items": {"type": "integer"}},
        {"enum": [1, 2]},
        {},
    ],
)
def test_other_forms_are_asked_for_as_json(form: dict[str, Any]) -> None:
    schema = schema_of(form)
    assert list(schema["properties"]) == ["answer"]
    assert schema["properties"]["answer"]["type"] == "string"
    assert answer_of(question(form), {"answer": '{"x": [1, null]}'}) == {"x": [1, None]}
    with pytest.raises(AppError, match="not JSON"):
        answer_of(question(form), {"answer": "{"})


def test_an_approval_without_a_form_needs_no_field() -> None:
    assert schema_of({"type": "object"}) == {"type": "object", "properties": {}}
    assert answer_of(question({"type": "object"}), None) == {}


@pytest.mark.parametrize("content", [[], "x", 5, {"other": 1}])
def test_what_is_no_answer(content: object) -> None:
    with pytest.raises(AppError):
        answer_of(question({"type": "string"}), content)
