"""Forms of runs as forms that clients can show."""

from typing import Any

import pytest

from app.kernel.errors import AppError
from app.surfaces.mcp.live.elicitation import Form

CHOICE = {"type": "string", "enum": ["a", "b"]}


def test_a_flat_form_is_shown_as_it_is() -> None:
    fields = {
        "name": {"type": "string", "title": "Name", "minLength": 1, "format": "email"},
        "count": {"type": "integer", "minimum": 0, "maximum": 9},
        "share": {"type": "number", "default": 0.5},
        "ok": {"type": "boolean", "description": "Yes or no."},
        "which": CHOICE,
        "many": {"type": "array", "items": CHOICE, "minItems": 1},
    }
    form = Form.of({"type": "object", "properties": fields, "required": ["ok"]})
    assert form.shape == "object"
    assert form.schema == {"type": "object", "properties": fields, "required": ["ok"]}
    assert form.read({"ok": True, "name": None}) == {"ok": True}


def test_what_elicitation_cannot_say_is_left_to_the_run() -> None:
    fields = {"code": {"type": "string", "pattern": "^A", "format": "uuid", "x": 1}}
    form = Form.of({"type": "object", "properties": fields, "additionalProperties": False})
    assert form.schema == {"type": "object", "properties": {"code": {"type": "string"}}}


def test_titled_choices() -> None:
    given = {"oneOf": [{"const": "a", "title": "A"}, {"const": "b"}]}
    form = Form.of({"type": "object", "properties": {"which": given}})
    assert form.schema["properties"]["which"] == {
        "type": "string",
        "oneOf": [{"const": "a", "title": "A"}, {"const": "b", "title": "b"}],
    }


def test_one_value() -> None:
    form = Form.of({"type": "boolean", "title": "Sure?"})
    assert form.schema["required"] == ["answer"]
    assert (form.shape, form.read({"answer": True})) == ("value", True)


@pytest.mark.parametrize(
    "deep",
    [
        {"type": "object", "properties": {"a": {"type": "object"}}},
        {"type": "object", "properties": {"a": {"$ref": "#/$defs/x"}}},
        {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}}}},
        {"type": "object", "required": ["a"]},
        {"type": "object", "anyOf": [{"required": ["a"]}]},
        {"type": "array"},
        {},
    ],
)
def test_any_other_form_is_asked_for_as_json(deep: dict[str, Any]) -> None:
    form = Form.of(deep)
    assert form.shape == "json"
    assert form.read({"answer": '{"a": [1]}'}) == {"a": [1]}
    for wrong in ("{", "[" * 100_000):
        with pytest.raises(AppError) as caught:
            form.read({"answer": wrong})
        assert caught.value.code.value == "invalid_input"
