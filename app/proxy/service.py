"""The one way to a tool, from its name to a checked and measured answer."""

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

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
    IsolatedBackend,
    RemoteConnector,
    StdioConnector,
    SupervisedBackend,
    ToolBackend,
    target_of,
)
from app.proxy.breaker import Breakers
from app.proxy.caching import Kept, ResultCache
from app.proxy.credentials import Credentials
from app.proxy.fast import FastCalls, Seams
from app.proxy.faults import server_down
from app.proxy.files import FileArguments
from app.proxy.fleet import Fleet, inspect
from app.proxy.guarded import GuardedPool
from app.proxy.personal import PersonalBackend, is_personal
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
from app.proxy.upstream import Upstream
from app.proxy.wire import HttpWire, Target
from app.registry import Registry, ServerConfig, Tool, ToolDefinition


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
        credentials: Credentials | None = None,
    ) -> None:
        self._registry, self.limiter = registry, limiter
        self._settings, self._clock = settings, clock
        self._metrics = metrics or Metrics()
        self._files = FileArguments(resolve_file)
        self._schemas = Schemas()
        self._cache = ResultCache(clock)
        self._on_listed = on_listed
        self._pool = HttpPool()
        self._guarded = GuardedPool(allow_private=settings.servers_allow_private)
        self.wire, self.credentials = HttpWire(), credentials
        self._upstreams: dict[str, Upstream] = {}
        self.breakers = Breakers(clock)
        self._builtins = _group(builtins)
        backends: list[ToolBackend] = [
            *self._builtins,
            *(self._connect(server) for server in servers if server.is_enabled),
        ]
        self._backends = {backend.server.name: backend for backend in backends}
        self._fleet = Fleet(self._backends, self._connect)
        seams = Seams(registry.snapshot, self.upstream, self._limit, self.breakers)
        limit = settings.tool_output_limit
        self.fast = FastCalls(seams, self._schemas, self._cache, clock, self._metrics, limit)

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
        await self._fleet.close()
        await self._pool.close()
        await self._guarded.close()
        await self.wire.close()

    def sync(self, servers: Sequence[ServerConfig]) -> None:
        """Start and stop the backends of registered servers, so that they are exactly these."""
        self._fleet.sync(servers)

    def recheck(self) -> None:
        """List registered servers again: whether they answer, and with the same tools."""
        self._fleet.recheck()

    async def inspect(self, server: ServerConfig) -> Sequence[ToolDefinition]:
        """What a server that is not used yet offers now. Raises `tool_server_down`."""
        return await inspect(self._connect(server, is_told=False))

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
        # A carrier's answer is for one caller, in the midst of an exchange.
        key = None
        if not call.carrier:
            key = await self._cache.key_of(self.credentials, call.principal, tool, arguments)
        if (kept := self._cache.get(key)) is not None:
            return _recalled(tool, kept, bytes_in)
        resolved = await self._files.resolve(
            call.principal,
            tool.definition,
            arguments,
            reads_local_files=backend.reads_local_files,
        )
        began = self._clock.monotonic()
        raw = await self._guard(backend, tool, call, resolved)
        wall_ms = round((self._clock.monotonic() - began) * 1000)
        result = self.read(tool, raw, wall_ms, bytes_in)
        if key is not None and not result.is_error:
            self._cache.put(key, tool, _kept(result))
        return result

    async def _guard(
        self, backend: ToolBackend, tool: Tool, call: ToolCall, arguments: dict[str, Any]
    ) -> RawResult:
        """Call the server unless it is left alone, and note whether it answered."""
        self.breakers.admit(tool.server)
        try:
            send = call.carrier or backend.call
            raw = await send(tool, call, arguments, _time_limit(tool, call))
        except AppError as error:
            # A caller's own, shorter limit says nothing about the server.
            is_callers = error.code is Code.TOOL_TIMEOUT and call.timeout_s is not None
            if is_callers:
                self.breakers.dismiss(tool.server)
            else:
                self.breakers.record(tool.server, error)
            raise
        except Exception:
            # A carrier's own: the server answered, with something else than a result.
            self.breakers.record(tool.server, None)
            raise
        except asyncio.CancelledError:
            # Who called went away: that says nothing about the server.
            self.breakers.dismiss(tool.server)
            raise
        self.breakers.record(tool.server, None)
        return raw

    async def _limit(self, principal: Principal, tool: Tool) -> None:
        if principal.user_id is not None:
            await self.limiter.take(f"calls:{principal.user_id}", self._settings.calls_per_minute)
        own = tool.calls_per_minute or self._settings.tool_calls_per_minute
        await self.limiter.take(f"tool:{tool.full_name}", own)
        server = self._registry.snapshot().server(tool.server)
        if server is not None and server.calls_per_minute is not None:
            await self.limiter.take(f"server:{tool.server}", server.calls_per_minute)

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

    def read(self, tool: Tool, raw: RawResult, wall_ms: int = 0, bytes_in: int = 0) -> ToolResult:
        """A server's answer, once its size and shape are right.

        Raises `tool_output_too_large`, `tool_protocol_error`.
        """
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

    def upstream(self, name: str) -> Upstream | None:
        """A server as the pass-through takes it; None for one that is not here, or built in."""
        backend = self._backends.get(name)
        if backend is None:
            return None
        known = self._upstreams.get(name)
        if known is None or known.backend is not backend:
            if not isinstance(backend, SupervisedBackend | IsolatedBackend):
                return None
            target = self._target(backend.server)
            known = Upstream(name, backend, self.wire, target, self.credentials)
            self._upstreams[name] = known
        return known

    def _target(self, server: ServerConfig) -> Target | None:
        return target_of(
            server,
            output_limit=self._settings.tool_output_limit,
            allow_private=self._settings.servers_allow_private,
        )

    def _connect(
        self, server: ServerConfig, *, is_told: bool = True
    ) -> SupervisedBackend | IsolatedBackend:
        on_listed = self._on_listed if is_told else None
        if (target := self._target(server)) is None:
            return self._connect_process(server, on_listed)
        pool = self._guarded if server.is_guarded else self._pool
        connector = RemoteConnector(
            server, pool, target=target, wire=self.wire, credentials=self.credentials
        )
        if is_personal(server):
            return PersonalBackend(connector, on_listed)
        return SupervisedBackend(connector, on_listed)

    def _connect_process(
        self, server: ServerConfig, on_listed: OnListed | None
    ) -> SupervisedBackend | IsolatedBackend:
        limit = self._settings.tool_output_limit

        def make(told: OnListed | None = None) -> SupervisedBackend:
            return SupervisedBackend(StdioConnector(server, output_limit=limit), told)

        shared = make(on_listed)
        return IsolatedBackend(shared, make) if server.isolation == "user" else shared


def _group(builtins: Sequence[BuiltinTool]) -> list[BuiltinBackend]:
    groups: dict[str, list[BuiltinTool]] = defaultdict(list)
    for tool in builtins:
        groups[tool.definition.server].append(tool)
    return [BuiltinBackend(name, tools) for name, tools in groups.items()]


def _kept(result: ToolResult) -> Kept:
    structured = None if result.structured is None else orjson.dumps(result.structured)
    return Kept(orjson.dumps(result.content), structured)


def _recalled(tool: Tool, kept: Kept, bytes_in: int) -> ToolResult:
    return ToolResult(
        structured=None if kept.structured is None else orjson.loads(kept.structured),
        content=orjson.loads(kept.content),
        is_error=False,
        error=None,
        usage=Usage(tool.full_name, tool.definition.sha256, 0, bytes_in, kept.size),
    )


def _time_limit(tool: Tool, call: ToolCall) -> float:
    return tool.timeout_s if call.timeout_s is None else min(call.timeout_s, tool.timeout_s)
