"""A run's question as an elicitation: a form that clients can show, and its answer back.

Elicitation knows flat forms of texts, numbers, choices and yes or no (2026-07-28, client,
elicitation). Any other form is asked for as JSON; the run's own form decides in every case.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from app.kernel.errors import AppError, Code
from app.surfaces.mcp.calls import Context
from app.surfaces.workflows import QuestionOut

METHOD = "elicitation/create"
_ANSWER = "answer"
_SHOWN_FORM = 2000
_FORMATS = frozenset({"date", "date-time", "email", "uri"})
_ABOUT = ("title", "description", "default")
_KEPT: Mapping[str, tuple[str, ...]] = {
    "string": (*_ABOUT, "minLength", "maxLength"),
    "number": (*_ABOUT, "minimum", "maximum"),
    "integer": (*_ABOUT, "minimum", "maximum"),
    "boolean": _ABOUT,
}
# What changes which properties there are: such a form is not flat.
_COMBINED = frozenset({"$ref", "allOf", "anyOf", "oneOf", "not", "if", "patternProperties"})


@dataclass(frozen=True, slots=True)
class Form:
    """What clients are asked for. `shape` says how the answer lies in what they send."""

    schema: dict[str, Any]
    shape: Literal["object", "value", "json"]

    @classmethod
    def of(cls, form: Mapping[str, Any]) -> "Form":
        """The nearest form to a JSON Schema."""
        if (flat := _flat(form)) is not None:
            return cls(flat, "object")
        if (field := _field(form)) is not None:
            return cls(_object({_ANSWER: field}, [_ANSWER]), "value")
        shown = orjson.dumps(form).decode()[:_SHOWN_FORM]
        text = {"type": "string", "title": "Answer", "description": f"JSON that fits: {shown}"}
        return cls(_object({_ANSWER: text}, [_ANSWER]), "json")

    def read(self, content: Mapping[str, Any]) -> Any:
        """The answer in what a client sent; `invalid_input` for text that is no JSON."""
        if self.shape == "object":
            # Fields that were left empty.
            return {name: value for name, value in content.items() if value is not None}
        value = content.get(_ANSWER)
        if self.shape == "value":
            return value
        try:
            return json.loads(value) if isinstance(value, str) else value
        except (ValueError, RecursionError) as error:
            raise AppError(Code.INVALID_INPUT, "The answer is not JSON.") from error


def input_request(question: QuestionOut, problem: str | None = None) -> dict[str, Any]:
    """The request that asks a client; `problem` is what was wrong with its last answer."""
    return {
        "method": METHOD,
        "params": {
            "mode": "form",
            "message": message_of(question, problem),
            "requestedSchema": Form.of(question.form).schema,
        },
    }


def message_of(question: QuestionOut, problem: str | None = None) -> str:
    """What a person reads."""
    return question.title if problem is None else f"{question.title}\n\n{problem}"


def can_be_asked(context: Context) -> bool:
    """Whether the client shows forms; an empty capability means forms (2025-06-18)."""
    capabilities = context.session.client_capabilities
    elicitation = None if capabilities is None else capabilities.elicitation
    return elicitation is not None and (elicitation.form is not None or elicitation.url is None)


def _object(fields: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {"type": "object", "properties": fields} | ({"required": required} if required else {})


def _flat(form: Mapping[str, Any]) -> dict[str, Any] | None:
    if form.get("type") != "object" or _COMBINED & form.keys():
        return None
    fields = {name: _field(schema) for name, schema in form.get("properties", {}).items()}
    required = list(form.get("required", ()))
    if not fields.keys() >= set(required):
        return None
    known = {name: field for name, field in fields.items() if field is not None}
    return _object(known, required) if len(known) == len(fields) else None


def _field(schema: Any) -> dict[str, Any] | None:
    """A property as elicitation knows it, without what it cannot say; None if it is no such."""
    if not isinstance(schema, Mapping) or "$ref" in schema:
        return None
    about = {name: schema[name] for name in ("title", "description") if name in schema}
    if (choices := _choices(schema)) is not None:
        return {"type": "string", **about, **choices}
    if schema.get("type") == "array":
        choices = _choices(schema.get("items"))
        return None if choices is None or "oneOf" in choices else _many(schema, about, choices)
    kept = _KEPT.get(str(schema.get("type")))
    if kept is None or _COMBINED & schema.keys():
        return None
    field = {"type": schema["type"]} | {name: schema[name] for name in kept if name in schema}
    return field | ({"format": schema["format"]} if schema.get("format") in _FORMATS else {})


def _choices(schema: Any) -> dict[str, Any] | None:
    if not isinstance(schema, Mapping) or schema.get("type", "string") != "string":
        return None
    enum, titled = schema.get("enum"), schema.get("oneOf")
    if isinstance(enum, list) and enum and all(isinstance(one, str) for one in enum):
        return {"enum": enum}
    if isinstance(titled, list) and titled and all(map(_is_choice, titled)):
        return {
            "oneOf": [
                {"const": one["const"], "title": one.get("title", one["const"])} for one in titled
            ]
        }
    return None


def _is_choice(one: Any) -> bool:
    return (
        isinstance(one, Mapping)
        and isinstance(one.get("const"), str)
        and one.keys()
        <= {
            "const",
            "title",
            "description",
        }
    )


def _many(
    schema: Mapping[str, Any], about: Mapping[str, Any], choices: Mapping[str, Any]
) -> dict[str, Any]:
    limits = {name: schema[name] for name in ("minItems", "maxItems") if name in schema}
    return {"type": "array", **about, **limits, "items": {"type": "string", **choices}}
