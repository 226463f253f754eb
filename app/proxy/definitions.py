"""Turns what a server lists into definitions; what could harm the platform is left out, logged."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import mcp_types
import orjson
from mcp import Client

from app.kernel.errors import AppError
from app.kernel.scrub import Scrubber
from app.proxy.faults import protocol_error
from app.proxy.schemas import compile_schema
from app.registry import MORE, TOOL_NAME, ServerConfig, ToolDefinition, ToolOverride, without

MAX_PAGES = 100
MAX_TOOLS = 2000
MAX_DEFINITION_BYTES = 256 * 1024
_log = logging.getLogger(__name__)


async def list_all(
    client: Client, server: str, scrubber: Scrubber | None = None
) -> list[mcp_types.Tool]:
    """Every page of `tools/list`, without the credentials it was asked with.

    Raises `tool_protocol_error` for a listing without end.
    """
    tools: list[mcp_types.Tool] = []
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        page = await client.list_tools(cursor=cursor, cache_mode="bypass")
        tools += page.tools
        cursor = page.next_cursor
        if cursor is None and len(tools) <= MAX_TOOLS:
            return [_clean(tool, scrubber) for tool in tools] if scrubber else tools
        if len(tools) > MAX_TOOLS:
            break
    raise protocol_error(server, f"lists more than {MAX_TOOLS} tools or {MAX_PAGES} pages")


def _clean(tool: mcp_types.Tool, scrubber: Scrubber) -> mcp_types.Tool:
    raw = tool.model_dump(mode="json", by_alias=True, exclude_none=True)
    return mcp_types.Tool.model_validate(scrubber.value(raw))


def definitions_of(
    server: ServerConfig, tools: Sequence[mcp_types.Tool]
) -> tuple[ToolDefinition, ...]:
    """The definitions the platform exposes, by name: known ones only if the server names some."""
    overrides = None if server.tools is None else {tool.name: tool for tool in server.tools}
    found: dict[str, ToolDefinition] = {}
    for tool in tools:
        if overrides is not None and tool.name not in overrides:
            continue
        definition = _definition(server, tool, (overrides or {}).get(tool.name))
        definition, problem = _without_filled(server, definition)
        if (problem := problem or _problem(definition, found)) is not None:
            _log.warning("%s: a tool is left out: %s", server.name, problem)
            continue
        found[definition.name] = definition
    for name in (overrides or {}).keys() - found.keys():
        _log.warning("%s has no usable tool %s, which its configuration names", server.name, name)
    return tuple(found[name] for name in sorted(found))


def _definition(
    server: ServerConfig, tool: mcp_types.Tool, override: ToolOverride | None
) -> ToolDefinition:
    raw: dict[str, Any] = tool.model_dump(mode="json", by_alias=True, exclude_none=True)
    schema = raw.get("inputSchema") or {"type": "object"}
    if override is not None and override.input_schema and "properties" not in schema:
        schema = override.input_schema
    text = override.description if override is not None else None
    return ToolDefinition(
        server=server.name,
        name=tool.name,
        description=text or raw.get("description") or "",
        input_schema=schema,
        output_schema=raw.get("outputSchema"),
        annotations=raw.get("annotations"),
        more={key: raw[key] for key in MORE if raw.get(key)},
    )


def _without_filled(
    server: ServerConfig, definition: ToolDefinition
) -> tuple[ToolDefinition, str | None]:
    """The definition as callers see it: without the arguments that secrets fill."""
    filled = [each for each in server.secret_arguments if each.tool == definition.name]
    if not filled:
        return definition, None
    schema, problem = without(definition.input_schema, filled)
    names = tuple(sorted(each.argument for each in filled))
    left = replace(definition, input_schema=schema, filled=names)
    return left, None if problem is None else f"{definition.name} {problem}"


def _problem(definition: ToolDefinition, found: dict[str, ToolDefinition]) -> str | None:
    if not TOOL_NAME.fullmatch(definition.name):
        return f"its name {definition.name[:80]!r} is not allowed"
    if definition.name in found:
        return f"{definition.name} is listed twice"
    try:
        size = len(orjson.dumps(definition.as_dict()))
        text = definition.sha256 and str(definition.as_dict())
        compile_schema(definition)
    except (orjson.JSONEncodeError, ValueError, RecursionError, AppError) as error:
        return f"{definition.name}: {str(error)[:200]}"
    # PostgreSQL's JSON cannot hold NUL, which no name or text needs.
    if "\\x00" in text:
        return f"{definition.name} holds a NUL character"
    return None if size <= MAX_DEFINITION_BYTES else f"{definition.name} is too large"
