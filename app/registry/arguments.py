"""Arguments of tools that are filled from secrets: who declares them, and what is left to callers.

The argument is taken out of the schema before anything else sees it, so that what is approved,
listed and checked is what callers may send. The value goes in when the call leaves.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args

from app.registry.needs import SECRET_NAME, SecretScope
from app.registry.readers import flag, mapping, optional_string, refuse

_MOST = 100
_TOOL = re.compile(r"[A-Za-z0-9_.-]{1,94}")
_WIDTH = 200
# Of these a part would stay behind that says something of the argument.
_BOUND = (
    "dependentRequired",
    "dependentSchemas",
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
)


@dataclass(frozen=True, slots=True)
class SecretArgument:
    """A tool's top-level argument that is filled with the secret of that name."""

    tool: str
    argument: str
    secret: str
    scope: SecretScope = "user"
    is_required: bool = True

    @property
    def names(self) -> tuple[str, ...]:
        """The secrets it is made of."""
        return (self.secret,)

    def fill(self, values: Mapping[str, str]) -> str:
        """The argument's value; `values` holds every name."""
        return values[self.secret]

    def as_dict(self) -> dict[str, Any]:
        """The JSON form that is stored; it holds no value of a secret."""
        return {
            "tool": self.tool,
            "argument": self.argument,
            "secret": self.secret,
            "scope": self.scope,
            "is_required": self.is_required,
        }


def without(
    schema: Mapping[str, Any], arguments: Iterable[SecretArgument]
) -> tuple[dict[str, Any], str | None]:
    """The schema without these arguments; what is wrong, if they cannot be taken out of it."""
    left = dict(schema)
    found = left.get("properties")
    if not isinstance(found, Mapping):
        return left, "takes no arguments, though one is filled with a secret"
    properties = dict(found)
    for each in arguments:
        name = each.argument
        if name not in properties:
            return left, f"has no argument {name!r}, which is filled with a secret"
        if problem := _unfit(name, properties.pop(name), schema):
            return left, f"has an argument {name!r} that cannot be filled with a secret: {problem}"
        if isinstance(required := left.get("required"), list):
            left["required"] = [one for one in required if one != name]
    left["properties"] = properties
    return left, None


def _unfit(name: str, argument: Any, schema: Mapping[str, Any]) -> str | None:
    if not isinstance(argument, Mapping):
        return "it has no schema"
    kinds = argument.get("type", "string")
    if "string" not in (kinds if isinstance(kinds, list) else [kinds]):
        return "it is no string"
    if "x-mcp-header" in argument:
        return "it is sent as a header too"
    for key in _BOUND:
        if _mentions(schema.get(key), name):
            return f"{key} speaks of it"
    return None


def _mentions(value: Any, name: str) -> bool:
    if isinstance(value, Mapping):
        return name in value or any(_mentions(inner, name) for inner in value.values())
    if isinstance(value, list):
        return any(_mentions(inner, name) for inner in value)
    return bool(value == name)


def read_secret_arguments(raw: Any, key: str) -> tuple[SecretArgument, ...]:
    """The `secret_arguments` of a server in `mcp_config.yaml`: tool -> argument -> secret."""
    found = []
    for tool, entries in mapping(raw, key).items():
        if not _TOOL.fullmatch(tool):
            refuse(f"{key}.{tool}", "is no tool name")
        for argument, value in mapping(entries, f"{key}.{tool}").items():
            found.append(_argument(tool, argument, value, f"{key}.{tool}.{argument}"))
    if len(found) > _MOST:
        refuse(key, f"has more than {_MOST} arguments")
    return tuple(found)


def _argument(tool: str, argument: str, raw: Any, key: str) -> SecretArgument:
    if not 0 < len(argument) <= _WIDTH:
        refuse(key, "is no name of an argument")
    if isinstance(raw, str):
        return SecretArgument(tool, argument, _name(raw, key))
    entry = mapping(raw, key, frozenset({"name", "scope", "required"}))
    scope = entry.get("scope", "user")
    if scope not in get_args(SecretScope):
        refuse(f"{key}.scope", f"must be {', '.join(get_args(SecretScope))}")
    is_required = flag(entry.get("required"), f"{key}.required", default=True)
    name = _name(entry.get("name"), f"{key}.name")
    return SecretArgument(tool, argument, name, cast(SecretScope, scope), is_required)


def _name(raw: Any, key: str) -> str:
    name = optional_string(raw, key) or ""
    if not SECRET_NAME.fullmatch(name):
        refuse(key, "must name a secret: a letter, then letters, digits, '_', '-', '.'")
    return name
