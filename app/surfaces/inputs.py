"""Files inside a task's input: where the schema wants one, and how inline text gets there."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.kernel.errors import AppError, Code
from app.kernel.ids import new_id
from app.surfaces.payloads import FileName, Payload, parse, pointer

Path = tuple[str | int, ...]
_COMBINED = ("anyOf", "oneOf", "allOf")


class InlineFile(Payload):
    """A small file given in the request itself."""

    text: str
    name: FileName


@dataclass(frozen=True)
class Prepared:
    """An input whose inline files are replaced by placeholder ids, and those files."""

    value: dict[str, Any]
    inline: Mapping[UUID, InlineFile]


def file_paths(schema: Mapping[str, Any], value: object) -> set[Path]:
    """The places in `value` where `schema` (JSON Schema, local refs only) has `format: file`."""
    return set(_walk(schema, schema, value, ()))


def _walk(root: Mapping[str, Any], schema: Any, value: object, path: Path) -> Iterator[Path]:
    schema = _resolve(root, schema)
    if not isinstance(schema, Mapping):
        return
    if schema.get("format") == "file":
        yield path
    for keyword in _COMBINED:
        for choice in schema.get(keyword, ()):
            yield from _walk(root, choice, value, path)
    for key, child in _children(value):
        yield from _walk(root, _schema_of(schema, key), child, (*path, key))


def _children(value: object) -> Iterator[tuple[str | int, object]]:
    if isinstance(value, dict):
        yield from value.items()
    elif isinstance(value, list):
        yield from enumerate(value)


def _schema_of(schema: Mapping[str, Any], key: str | int) -> Any:
    if isinstance(key, int):
        return schema.get("items")
    return schema.get("properties", {}).get(key, schema.get("additionalProperties"))


def _resolve(root: Mapping[str, Any], schema: Any) -> Any:
    if not isinstance(schema, Mapping) or "$ref" not in schema:
        return schema
    found: Any = root
    for part in str(schema["$ref"]).removeprefix("#/").split("/"):
        found = found[part]
    return found


def at(value: Any, path: Path) -> Any:
    """The value at `path`."""
    for part in path:
        value = value[part]
    return value


def put(value: Any, path: Path, item: object) -> None:
    """Set the value at `path`, which is not the root."""
    at(value, path[:-1])[path[-1]] = item


def prepare(schema: Mapping[str, Any], raw: Mapping[str, Any]) -> Prepared:
    """Take the inline files out of an input, so that it can be checked before any is stored."""
    value, inline = deepcopy(dict(raw)), {}
    for path in sorted(file_paths(schema, value), key=str):
        given = at(value, path)
        if isinstance(given, dict):
            placeholder = new_id()
            inline[placeholder] = _inline(given, path)
            put(value, path, str(placeholder))
    return Prepared(value, inline)


def _inline(given: dict[str, Any], path: Path) -> InlineFile:
    try:
        return parse(InlineFile, given)
    except AppError as error:
        details = dict(error.details)
        details["pointer"] = pointer(path) + str(details.get("pointer", ""))
        raise AppError(
            error.code,
            f"{details['pointer']} is not an inline file: {error.message}",
            hint="Give {'text': ..., 'name': ...}, or the id of an uploaded file.",
            details=details,
        ) from error


def file_ids(schema: Mapping[str, Any], value: object) -> dict[Path, UUID]:
    """The ids of the files an accepted input names, by place."""
    found: dict[Path, UUID] = {}
    for path in file_paths(schema, value):
        given = at(value, path)
        if given is None:
            continue
        try:
            found[path] = UUID(str(given))
        except ValueError:
            raise AppError(
                Code.INVALID_INPUT,
                f"{pointer(path)} is not the id of a file.",
                hint="Upload the file first and use its file_id, or give {text, name}.",
                details={"pointer": pointer(path)},
            ) from None
    return found
