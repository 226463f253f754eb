"""The `tools` list of a server in Biomni's form: which tools are exposed, and how described."""

import re
from typing import Any

from app.registry.readers import flag, mapping, optional_string, refuse, string
from app.registry.types import ToolOverride

TOOL_NAME = re.compile(r"[A-Za-z0-9_.-]{1,94}")
_KEYS = frozenset({"biomni_name", "name", "description", "parameters"})
_PARAMETER_KEYS = frozenset({"type", "required", "default", "description"})
_TYPES = {
    "str": "string",
    "string": "string",
    "int": "integer",
    "integer": "integer",
    "float": "number",
    "number": "number",
    "bool": "boolean",
    "boolean": "boolean",
    "list": "array",
    "array": "array",
    "dict": "object",
    "object": "object",
}


def read_overrides(raw: Any, key: str) -> tuple[ToolOverride, ...] | None:
    """The entries of a `tools` list, or None where the server has none (all are exposed)."""
    if raw is None:
        return None
    if not isinstance(raw, list):
        refuse(key, "must be a list")
    tools = tuple(_tool(item, f"{key}[{i}]") for i, item in enumerate(raw))
    seen: set[str] = set()
    for tool in tools:
        if tool.name in seen:
            refuse(key, f"names the tool {tool.name} twice")
        seen.add(tool.name)
    return tools


def _tool(raw: Any, key: str) -> ToolOverride:
    entry = mapping({"name": raw} if isinstance(raw, str) else raw, key, _KEYS)
    name = string(entry.get("biomni_name", entry.get("name")), f"{key}.biomni_name")
    if not TOOL_NAME.fullmatch(name):
        refuse(f"{key}.biomni_name", "is no tool name: at most 94 of A-Z a-z 0-9 _ - .")
    return ToolOverride(
        name=name,
        description=optional_string(entry.get("description"), f"{key}.description"),
        input_schema=_parameters(entry.get("parameters"), f"{key}.parameters"),
    )


def _parameters(raw: Any, key: str) -> dict[str, Any] | None:
    """A parameter list as JSON Schema."""
    if raw is None:
        return None
    properties: dict[str, Any] = {}
    required = []
    for name, spec in mapping(raw, key).items():
        at = f"{key}.{name}"
        entry = mapping(spec, at, _PARAMETER_KEYS)
        properties[string(name, at)] = _property(entry.get, at)
        if flag(entry.get("required"), f"{at}.required", default=False):
            required.append(name)
    return {"type": "object", "properties": properties, "required": required}


def _property(get: Any, key: str) -> dict[str, Any]:
    kind = string(get("type", "str"), f"{key}.type")
    if kind not in _TYPES:
        refuse(f"{key}.type", f"must be one of {', '.join(_TYPES)}")
    schema: dict[str, Any] = {"type": _TYPES[kind]}
    if (text := optional_string(get("description"), f"{key}.description")) is not None:
        schema["description"] = text
    if (default := get("default")) is not None:
        if not isinstance(default, str | int | float | bool):
            refuse(f"{key}.default", "must be a string, number or truth value")
        schema["default"] = default
    return schema
