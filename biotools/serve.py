"""Turns a list of typed functions into an MCP server over stdio.

Input and output schemas come from the annotations. A sync function runs in a worker thread, so the
server goes on answering pings; cancelling the call (or closing stdin) frees the caller at once and
stops the thread at its next `check_cancelled`.
"""

import inspect
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, get_type_hints

import anyio
import anyio.to_thread
import mcp_types as types
from anyio import CapacityLimiter
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from biotools.cancel import stop_event
from biotools.errors import ToolInputError

ToolFunction = Callable[..., BaseModel]

_log = logging.getLogger(__name__)
_READ_ONLY = types.ToolAnnotations(
    read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)


class _Arguments(BaseModel):
    model_config = ConfigDict(extra="forbid")


@dataclass(frozen=True)
class ToolEntry:
    """One tool: its function, and the schemas derived from its signature."""

    function: ToolFunction

    @property
    def name(self) -> str:
        return self.function.__name__

    @cached_property
    def arguments(self) -> type[BaseModel]:
        """The model that checks the arguments; unknown fields are refused."""
        hints = get_type_hints(self.function, include_extras=True)
        fields: dict[str, Any] = {
            name: (hints[name], ... if param.default is param.empty else param.default)
            for name, param in inspect.signature(self.function).parameters.items()
        }
        return create_model(f"{self.name}_arguments", __base__=_Arguments, **fields)

    @cached_property
    def definition(self) -> types.Tool:
        """What `tools/list` says about the tool."""
        result: type[BaseModel] = get_type_hints(self.function)["return"]
        return types.Tool(
            name=self.name,
            description=inspect.getdoc(self.function),
            input_schema=self.arguments.model_json_schema(),
            output_schema=result.model_json_schema(mode="serialization"),
            annotations=_READ_ONLY,
        )

    def run(self, raw: dict[str, Any]) -> types.CallToolResult:
        """Check the arguments, call the function, wrap what it gives or raises."""
        try:
            checked = self.arguments.model_validate(raw)
            result = self.function(
                **{name: getattr(checked, name) for name in type(checked).model_fields}
            )
        except ValidationError as error:
            return _failure("invalid_argument", _explain(error), "See the tool's input schema.")
        except ToolInputError as error:
            return _failure(error.code, error.message, error.hint)
        data = result.model_dump(mode="json")
        return types.CallToolResult(content=[_text(json.dumps(data))], structured_content=data)


def _explain(error: ValidationError) -> str:
    lines = (
        f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}"
        for item in error.errors(include_url=False, include_context=False, include_input=False)[:5]
    )
    return "; ".join(lines)


def _text(text: str) -> types.TextContent:
    return types.TextContent(type="text", text=text)


def _failure(code: str, message: str, hint: str) -> types.CallToolResult:
    return types.CallToolResult(
        content=[_text(f"{message} {hint}".strip())],
        structured_content={"code": code, "message": message, "hint": hint},
        is_error=True,
    )


class ToolServer:
    """The tools of one field, served from one process."""

    def __init__(self, name: str, functions: Sequence[ToolFunction], instructions: str) -> None:
        self._tools = {entry.name: entry for entry in map(ToolEntry, functions)}
        # CPU work: more threads than cores would only add memory. Pings never wait for it.
        self._limiter_size = max(2, os.cpu_count() or 1)
        self._limiter: CapacityLimiter | None = None
        self.server: Server[Any] = Server(
            name,
            version=_version(),
            instructions=instructions,
            on_list_tools=self._list_tools,
            on_call_tool=self._call_tool,
        )

    async def _list_tools(
        self, context: ServerRequestContext[Any], params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[entry.definition for entry in self._tools.values()])

    async def _call_tool(
        self, context: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        entry = self._tools.get(params.name)
        if entry is None:
            raise MCPError(types.INVALID_PARAMS, f"There is no tool named {params.name!r}.")
        try:
            return await self._in_thread(partial(entry.run, params.arguments or {}))
        except Exception:  # noqa: BLE001 - a bug in one tool must not end the server
            # The text of an unexpected error may hold paths or data: it stays on stderr.
            _log.exception("tool %s crashed", params.name)
            return _failure("internal_error", f"The tool {params.name} failed.", "See its log.")

    async def _in_thread(self, call: Callable[[], types.CallToolResult]) -> types.CallToolResult:
        if self._limiter is None:
            self._limiter = CapacityLimiter(self._limiter_size)
        event = threading.Event()
        token = stop_event.set(event)
        try:
            return await anyio.to_thread.run_sync(
                call, abandon_on_cancel=True, limiter=self._limiter
            )
        finally:
            event.set()
            stop_event.reset(token)

    async def run_stdio(self) -> None:
        """Serve one client on stdin and stdout until stdin closes."""
        async with stdio_server() as (reader, writer):
            await self.server.run(reader, writer, self.server.create_initialization_options())


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("uaol")
    except PackageNotFoundError:
        return "0"


def serve(name: str, functions: Sequence[ToolFunction], instructions: str = "") -> None:
    """Run the MCP server `name` with these tools over stdio, until the client goes away."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    anyio.run(ToolServer(name, functions, instructions).run_stdio)
