"""Files in arguments: ids that the principal may read become local paths.

A schema marks a file by `"format": "file"`. Wherever such a position is, the value must be a file
id; a path that a caller wrote there never reaches a tool. Doubt is resolved towards "is a file".
"""

import copy
import re
from collections.abc import Iterator, Mapping
from typing import Any
from uuid import UUID

from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal
from app.proxy.faults import protocol_error
from app.proxy.schemas import pointer
from app.proxy.types import FileResolver
from app.registry import ToolDefinition

Path = tuple[str | int, ...]

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_SAME = ("if", "then", "else", "not")
_SAME_LISTS = ("allOf", "anyOf", "oneOf")
_SAME_MAPPINGS = ("dependentSchemas",)
_OF_MEMBERS = ("additionalProperties", "unevaluatedProperties")
_OF_ITEMS = ("items", "contains", "unevaluatedItems")


class FileArguments:
    """Finds the files in a tool's arguments and puts their local paths there."""

    def __init__(self, resolve: FileResolver) -> None:
        self._resolve = resolve

    async def resolve(
        self,
        principal: Principal,
        definition: ToolDefinition,
        arguments: dict[str, Any],
        *,
        reads_local_files: bool,
    ) -> dict[str, Any]:
        """The arguments with paths for file ids; the given ones stay as they are.

        Raises `invalid_input` for a value that is no file id, or where the tool's server cannot
        read this machine's files, and `not_found` for a file that is not the principal's.
        """
        places = FilePositions(definition).find(arguments)
        if not places:
            return arguments
        if not reads_local_files:
            raise _refusal(definition, places[0], "the tool's server cannot read files from here")
        changed = copy.deepcopy(arguments)
        for place in places:
            path = await self._resolve(principal, _file_id(definition, arguments, place))
            _parent(changed, place)[place[-1]] = str(path)
        return changed


class FilePositions:
    """Walks a schema and a value side by side, each pair of them once."""

    def __init__(self, definition: ToolDefinition) -> None:
        self._definition = definition
        self._root = definition.input_schema
        self._seen: set[tuple[int, Path]] = set()

    def find(self, value: Any) -> list[Path]:
        """Where files are, in order; empty at once for a schema without any."""
        if not self._definition.takes_files:
            return []
        return list(dict.fromkeys(self._walk(self._root, value, ())))

    def _walk(self, schema: Any, value: Any, path: Path) -> Iterator[Path]:
        if not isinstance(schema, Mapping) or (id(schema), path) in self._seen:
            return
        self._seen.add((id(schema), path))
        if schema.get("format") == "file" and isinstance(value, str) and path:
            yield path
        for same in self._same_place(schema):
            yield from self._walk(same, value, path)
        for child, key in _children(schema, value):
            yield from self._walk(child, value[key], (*path, key))

    def _same_place(self, schema: Mapping[str, Any]) -> Iterator[Any]:
        for word in ("$ref", "$dynamicRef"):
            if isinstance(ref := schema.get(word), str):
                yield self._target(ref)
        yield from (schema[word] for word in _SAME if word in schema)
        for word in _SAME_LISTS:
            yield from schema.get(word, ())
        for word in _SAME_MAPPINGS:
            yield from schema.get(word, {}).values()

    def _target(self, ref: str) -> Any:
        target: Any = self._root
        try:
            if ref != "#":
                head, *parts = ref.split("/")
                if head != "#":
                    raise KeyError(ref)
                for part in parts:
                    name = part.replace("~1", "/").replace("~0", "~")
                    target = target[int(name) if isinstance(target, list) else name]
        except (KeyError, IndexError, ValueError, TypeError) as error:
            problem = f"has a reference {ref[:80]!r} in {self._definition.name} that is not local"
            raise protocol_error(self._definition.server, problem) from error
        return target


def _children(schema: Mapping[str, Any], value: Any) -> Iterator[tuple[Any, Any]]:
    """The schemas of a value's members or items, each with the member's key."""
    if isinstance(value, Mapping):
        known = schema.get("properties", {})
        # Which pattern fits is not asked: a stranger's pattern is not run here.
        others = [
            *schema.get("patternProperties", {}).values(),
            *(schema[word] for word in _OF_MEMBERS if word in schema),
        ]
        for key in value:
            if key in known:
                yield known[key], key
            yield from ((other, key) for other in others)
    elif isinstance(value, list):
        every = [schema[word] for word in _OF_ITEMS if word in schema]
        first = schema.get("prefixItems", [])
        for i in range(len(value)):
            yield from ((one, i) for one in (*first[i : i + 1], *every))


def _parent(value: Any, path: Path) -> Any:
    for key in path[:-1]:
        value = value[key]
    return value


def _file_id(definition: ToolDefinition, arguments: dict[str, Any], path: Path) -> UUID:
    text = _parent(arguments, path)[path[-1]]
    if not _UUID.fullmatch(text):
        raise _refusal(definition, path, "this must be the id of a file you uploaded")
    return UUID(text)


def _refusal(definition: ToolDefinition, path: Path, problem: str) -> AppError:
    place = pointer(list(path))
    return AppError(
        Code.INVALID_INPUT,
        f"{definition.full_name}: {place}: {problem}",
        hint="Upload the file first and pass the id you get.",
        details={"tool": definition.full_name, "pointer": place},
    )
