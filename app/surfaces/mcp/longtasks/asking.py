"""Questions of workflows as elicitation, and its answers as theirs.

An elicited form is flat (2026-07-28, "Elicitation"): an object of strings, numbers, booleans and
choices. A question's form may be any JSON Schema: one that is flat is asked as it is, one
value as the field `answer`, and anything else as JSON in the text field `answer`. What comes back
is checked against the question's own form, whichever way it was asked.
"""

from collections.abc import Mapping
from typing import Any, Literal

import orjson

from app.kernel.errors import AppError, Code
from app.surfaces.workflows.views import QuestionOut

Manner = Literal["flat", "value", "json"]
FIELD = "answer"
_COMMON = {"type", "title", "description", "default"}
_ALLOWED: Mapping[str, set[str]] = {
    "string": {"minLength", "maxLength", "enum", "oneOf"},
    "number": {"minimum", "maximum"},
    "integer": {"minimum", "maximum"},
    "boolean": set(),
}
_FORMATS = {"date", "date-time", "email", "uri"}
# Their meaning lies in what is around them, so a field that has them is no primitive.
_COMBINED = {"$ref", "allOf", "anyOf", "not", "if", "$dynamicRef"}
_SHOWN = 2_000


def request_of(question: QuestionOut) -> dict[str, Any]:
    """The `elicitation/create` request that asks a question."""
    manner = _manner(question.form)
    if manner == "flat":
        schema = _flat(question.form)
    else:
        field = _primitive(question.form) if manner == "value" else _as_text(question.form)
        schema = {"type": "object", "properties": {FIELD: field}, "required": [FIELD]}
    params = {"mode": "form", "message": question.title, "requestedSchema": schema}
    return {"method": "elicitation/create", "params": params}


def answer_of(question: QuestionOut, content: object) -> Any:
    """The question's answer in what was filled in; `invalid_input` if there is none."""
    given = {} if content is None else content
    if not isinstance(given, dict):
        raise _refuse(question, "its content is not an object")
    manner = _manner(question.form)
    if manner == "flat":
        return given
    if FIELD not in given:
        raise _refuse(question, f"its content has no `{FIELD}`")
    if manner == "value":
        return given[FIELD]
    try:
        return orjson.loads(str(given[FIELD]))
    except orjson.JSONDecodeError as error:
        raise _refuse(question, f"`{FIELD}` is not JSON: {error}") from error


def _manner(form: Mapping[str, Any]) -> Manner:
    if _primitive(form) is not None:
        return "value"
    is_object = form.get("type", "object" if "properties" in form else None) == "object"
    fields = form.get("properties", {})
    if not is_object or not isinstance(fields, Mapping) or form.keys() & _COMBINED:
        return "json"
    if not all(isinstance(one, Mapping) and _primitive(one) for one in fields.values()):
        return "json"
    return "flat" if set(form.get("required", ())) <= set(fields) else "json"


def _flat(form: Mapping[str, Any]) -> dict[str, Any]:
    fields = {name: _primitive(one) for name, one in form.get("properties", {}).items()}
    schema: dict[str, Any] = {"type": "object", "properties": fields}
    if form.get("required"):
        schema["required"] = list(form["required"])
    return schema


def _primitive(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """What elicitation can say of one value, or None if it is more than one value."""
    kind = schema.get("type")
    if schema.keys() & _COMBINED or ("enum" in schema and kind != "string"):
        return None
    if kind == "array":
        return _choices(schema)
    if not isinstance(kind, str) or kind not in _ALLOWED:
        return None
    kept = {key: schema[key] for key in schema if key in _COMMON | _ALLOWED[kind]}
    if schema.get("format") in _FORMATS and kind == "string":
        kept["format"] = schema["format"]
    return kept if _are_texts(kept.get("enum", [])) and _are_titled(kept) else None


def _choices(schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Several of a list of texts, the one array that elicitation knows."""
    items = schema.get("items")
    if not isinstance(items, Mapping) or items.get("type") != "string" or not items.get("enum"):
        return None
    if not _are_texts(items["enum"]):
        return None
    kept = {key: schema[key] for key in schema if key in _COMMON | {"minItems", "maxItems"}}
    return kept | {"items": {"type": "string", "enum": items["enum"]}}


def _are_texts(values: object) -> bool:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _are_titled(schema: Mapping[str, Any]) -> bool:
    options = schema.get("oneOf", [])
    return isinstance(options, list) and all(
        isinstance(one, dict) and isinstance(one.get("const"), str) and "title" in one
        for one in options
    )


def _as_text(form: Mapping[str, Any]) -> dict[str, Any]:
    shown = orjson.dumps(form).decode()[:_SHOWN]
    return {
        "type": "string",
        "title": "Answer as JSON",
        "description": f"JSON that fits this schema: {shown}",
    }


def _refuse(question: QuestionOut, why: str) -> AppError:
    return AppError(
        Code.INVALID_INPUT,
        f"The response to '{question.path}' is no answer: {why}.",
        hint="Fill in the form of the input request.",
        details={"key": question.path},
    )
