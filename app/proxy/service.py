"""The one way to a tool, from its name to a checked and measured answer."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from app.kernel.clock import Clock
from app.kernel.errors import AppError, Code
from app.kernel.metrics import Metrics
from app.kernel.principal import Principal
from app.kernel.ratelimit import Limiter
from app.kernel.settings import Settings
from app.proxy.backends import (
    BuiltinBackend,
    BuiltinTool,
    HttpPool,
    RemoteConnector,
    StdioConnector,
    SupervisedBackend,
    ToolBackend,
)
from app.proxy.faults import server_down
from app.proxy.files import FileArguments
from app.proxy.results import error_of, measure, size_of, structured_of
from app.proxy.schemas import Schemas
from app.proxy.types import (
    FileResolver,
    Listing,
    OnListed,
    RawResult,
    ServerHealth,
    ToolCall,
    ToolResult,
    Usage,
)
from app.registry import Registry, ServerConfig, Tool


class ToolProxy:
    """Keeps the tool servers running and carries calls to them.

    `on_listed` pins what a server offers and refreshes the registry; it is awaited at every start
    of a server and whenever its tools change, before calls reach it.
    """

    def __init__(
        self,
        registry: Registry,
        limiter: Limiter,
        settings: Settings,
        resolve_file: FileResolver,
        builtins: Sequence[BuiltinTool],
        clock: Clock,
        *,
        servers: Sequence[ServerConfig] = (),
        on_listed: OnListed | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self._registry, self._limiter = registry, limiter
        self._settings, self._clock = settings, clock
        self._metrics = metrics or Metrics()
        self._files = FileArguments(resolve_file)
        self._schemas = Schemas()
        self._on_listed = on_listed
        self._pool = HttpPool()
        self._builtins = _group(builtins)
        backends: list[ToolBackend] = [
            *self._builtins,
            *(self._connect(server) for server in servers if server.is_enabled),
        ]
        self._backends = {backend.server.name: backend for backend in backends}

    async def start(self) -> list[Listing]:
        """Start every enabled server at once; give what those that started offer.

        A server that fails to start is tried again by itself; see `health`.
        """
        await asyncio.gather(*(backend.start() for backend in self._backends.values()))
        for builtin in self._builtins:
            if self._on_listed is not None:
                await self._on_listed(builtin.server, await builtin.list_tools())
        return await self.listings()

    async def listings(self) -> list[Listing]:
        """What every server offers now; nothing for one that never started."""
        return [
            Listing(backend.server, tuple(await backend.list_tools()))
            for backend in self._backends.values()
        ]

    async def close(self) -> None:
        """Stop every server; calls still running get `tool_server_down`."""
        await asyncio.gather(*(backend.close() for backend in self._backends.values()))
        await self._pool.close()

    def health(self) -> list[ServerHealth]:
        """The state of every enabled server, by name."""
        return sorted(
            (backend.health() for backend in self._backends.values()), key=lambda item: item.name
        )

    async def call(self, call: ToolCall) -> ToolResult:
        """Carry out one call; never sent to a server twice.

        A tool's own refusal comes back as a result with `is_error`; every other fault raises:
        `tool_unknown`, `tool_disabled`, `tool_definition_changed`, `rate_limited`,
        `invalid_input`, `unknown_field`, `not_found` (a file), `tool_timeout`,
        `tool_server_down`, `tool_output_too_large`, `tool_protocol_error`.
        """
        tool = self._registry.snapshot().resolve(call.name)
        began, outcome = self._clock.monotonic(), "ok"
        try:
            result = await self._carry(call, tool)
        except AppError as error:
            outcome = error.code.value
            raise
        finally:
            self._metrics.observe_tool(tool.full_name, outcome, self._clock.monotonic() - began)
        return result

    async def _carry(self, call: ToolCall, tool: Tool) -> ToolResult:
        await self._limit(call.principal, tool)
        arguments = dict(call.arguments)
        bytes_in = self.check(tool, arguments)
        backend = self._backends.get(tool.server)
        if backend is None:
            raise server_down(tool.server, "is not configured in this process")
        resolved = await self._files.resolve(
            call.principal,
            tool.definition,
            arguments,
            reads_local_files=backend.reads_local_files,
        )
        began = self._clock.monotonic()
        raw = await backend.call(tool, call, resolved, _time_limit(tool, call))
        wall_ms = round((self._clock.monotonic() - began) * 1000)
        return self._read(tool, raw, wall_ms, bytes_in)

    async def _limit(self, principal: Principal, tool: Tool) -> None:
        if principal.user_id is not None:
            await self._limiter.take(f"calls:{principal.user_id}", self._settings.calls_per_minute)
        await self._limiter.take(f"tool:{tool.full_name}", self._settings.tool_calls_per_minute)

    def check(self, tool: Tool, arguments: Mapping[str, Any]) -> int:
        """The size of `arguments` in bytes of JSON, if a call with them would be let through.

        Raises `invalid_input`, `unknown_field` or `payload_too_large`; files are not looked at.
        """
        size = size_of(arguments)
        if size is None:
            raise AppError(
                Code.INVALID_INPUT,
                f"{tool.full_name}: the arguments cannot be written as JSON.",
                hint="Use finite numbers below 2^64 and valid Unicode.",
            )
        if size > self._settings.request_limit:
            raise AppError(
                Code.PAYLOAD_TOO_LARGE,
                f"{tool.full_name}: the arguments are larger than {self._settings.request_limit}"
                " bytes.",
                hint="Upload the data as a file and pass its id.",
            )
        self._schemas.check_arguments(tool.definition, arguments)
        return size

    def _read(self, tool: Tool, raw: RawResult, wall_ms: int, bytes_in: int) -> ToolResult:
        definition = tool.definition
        bytes_out = measure(definition, raw, self._settings.tool_output_limit)
        structured = structured_of(definition, raw, self._schemas)
        return ToolResult(
            structured=structured,
            content=raw.content,
            is_error=raw.is_error,
            error=error_of(definition, raw, structured),
            usage=Usage(tool.full_name, definition.sha256, wall_ms, bytes_in, bytes_out),
        )

    def _connect(self, server: ServerConfig) -> SupervisedBackend:
        limit = self._settings.tool_output_limit
        connector = (
            StdioConnector(server, output_limit=limit)
            if server.url is None
            else RemoteConnector(server, self._pool, output_limit=limit)
        )
        return SupervisedBackend(connector, self._on_listed)


def _group(builtins: Sequence[BuiltinTool]) -> list[BuiltinBackend]:
    groups: dict[str, list[BuiltinTool]] = defaultdict(list)
    for tool in builtins:
        groups[tool.definition.server].append(tool)
    return [BuiltinBackend(name, tools) for name, tools in groups.items()]


def _time_limit(tool: Tool, call: ToolCall) -> float:
    return tool.timeout_s if call.timeout_s is None else min(call.timeout_s, tool.timeout_s)
