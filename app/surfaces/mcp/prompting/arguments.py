"""Arguments of prompts, which are texts, as the input of a task, which is JSON."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson

from app.kernel.errors import AppError, Code
from app.surfaces.payloads import pointer

_CHOICES = ("anyOf", "oneOf")
_MOST = 20


def fields_of(schema: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    """The fields of an input and, for each, the schemas that its value may follow."""
    return {name: _options(schema, one) for name, one in schema.get("properties", {}).items()}


def described(schema: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The arguments that `prompts/list` shows for an input schema, required ones first."""
    needed = set(schema.get("required", ()))
    shown = []
    for name, raw in schema.get("properties", {}).items():
        one: dict[str, Any] = {"name": name, "required": name in needed}
        if text := _description(raw, _options(schema, raw)):
            one["description"] = text
        shown.append(one)
    return sorted(shown, key=lambda one: not one["required"])


def words_of(options: list[Mapping[str, Any]]) -> list[str]:
    """The values that a field may have, where the schema lists them; else its default."""
    found: list[Any] = []
    for one in options:
        found += one.get("enum", []) + ([one["const"]] if "const" in one else [])
        items = one.get("items")
        if isinstance(items, Mapping):
            found += [[value] for value in items.get("enum", [])]
        if one.get("type") == "boolean":
            found += [True, False]
        if not found and "default" in one:
            found.append(one["default"])
    return list(dict.fromkeys(_written(value) for value in found if value is not None))


def read(schema: Mapping[str, Any], given: Mapping[str, str]) -> dict[str, Any]:
    """The input that the arguments spell; an empty text is an argument left out.

    Raises `unknown_field` or `invalid_input` where a text is not JSON of its field's type.
    """
    known = fields_of(schema)
    value = {}
    for name, text in given.items():
        if name not in known:
            raise _refuse(Code.UNKNOWN_FIELD, name, "the prompt has no such argument")
        if text.strip():
            value[name] = _value(name, text, known[name])
    return value


def _options(root: Mapping[str, Any], schema: Any) -> list[Mapping[str, Any]]:
    """A schema's alternatives, references followed; what lies beside them holds for each."""
    if not isinstance(schema, Mapping):
        return []
    if "$ref" in schema:
        schema = {**_found(root, str(schema["$ref"])), **schema}
    beside = {key: value for key, value in schema.items() if key not in (*_CHOICES, "$ref")}
    choices = [one for key in _CHOICES for one in schema.get(key, ())]
    if not choices:
        return [beside]
    return [{**beside, **option} for one in choices for option in _options(root, one)]


def _found(root: Mapping[str, Any], reference: str) -> Mapping[str, Any]:
    found: Any = root
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return dict(found)


def _description(raw: Mapping[str, Any], options: list[Mapping[str, Any]]) -> str:
    said = str(raw.get("description", "")).strip()
    words = words_of(options)
    if any(_is_file(one) for one in options):
        return f"{said} The id of an uploaded file, or the file's text.".strip()
    if len(words) > 1 and len(words) <= _MOST:
        return f"{said} One of: {', '.join(words)}.".strip()
    if not any(one.get("type") == "string" for one in options):
        return f"{said} As JSON.".strip()
    return said


def _value(name: str, text: str, options: list[Mapping[str, Any]]) -> Any:
    if any(_is_file(one) for one in options):
        return _file(name, text)
    if any(one.get("type") == "string" for one in options):
        return text
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = text
    takes_list = any(one.get("type") == "array" for one in options)
    if takes_list and not isinstance(value, list):
        return [_item(name, value, options)]
    if isinstance(value, str) and not takes_list:
        kinds = " or ".join(str(one["type"]) for one in options if "type" in one)
        raise _refuse(Code.INVALID_INPUT, name, f"this is no JSON of the type {kinds or 'needed'}")
    return value


def _item(name: str, value: Any, options: list[Mapping[str, Any]]) -> Any:
    items = [one.get("items") for one in options]
    is_file = any(isinstance(one, Mapping) and _is_file(one) for one in items)
    return _file(name, value) if is_file and isinstance(value, str) else value


def _file(name: str, text: str) -> Any:
    try:
        return str(UUID(text.strip()))
    except ValueError:
        return {"text": text, "name": f"{name}.txt"}


def _is_file(schema: Mapping[str, Any]) -> bool:
    return schema.get("format") == "file"


def _written(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _refuse(code: Code, name: str, why: str) -> AppError:
    where = pointer((name,))
    return AppError(
        code,
        f"{where}: {why}.",
        hint="List the prompts to see their arguments.",
        details={"pointer": where},
    )
