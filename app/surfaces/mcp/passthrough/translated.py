"""The server as the SDK's own server shows it, for clients of an era that the server has not.

Requests are carried over one by one. Changes of its tools are told as at `/mcp`: when the caller's
own list changes, however the server announced it. What a server of 2026-07-28 asks back becomes a
request to a client of an older revision. An older server cannot be asked to wait like that, and is
told that its client can answer nothing.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import mcp_types as types
from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.context import CallNext, HandlerResult
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types import METHOD_NOT_FOUND
from pydantic import ConfigDict
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from app.kernel.errors import AppError
from app.proxy import Greeting, Upstream
from app.surfaces.mcp.asking import Asking
from app.surfaces.mcp.calls import Call, Context
from app.surfaces.mcp.doors import Sessions
from app.surfaces.mcp.live.changes import Changes
from app.surfaces.mcp.live.connections import connection_of, is_modern
from app.surfaces.mcp.live.requeststate import make_boundary
from app.surfaces.mcp.live.sessions import tell_of_tools
from app.surfaces.mcp.live.subscriptions import Subscriptions
from app.surfaces.mcp.passthrough.listing import approved_tools
from app.surfaces.mcp.results import Result, guarded, guarded_tool, protocol_error
from app.surfaces.operations import Operations

UPSTREAM_KEY = "uaol.upstream"
_OFFERED = frozenset({"tools", "resources", "prompts", "completions", "logging"})
_HINTS: dict[CacheableMethod, CacheHint] = dict.fromkeys(
    (
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/read",
        "resources/templates/list",
        "server/discover",
    ),
    CacheHint(ttl_ms=0, scope="private"),
)
_RESERVED = "io.modelcontextprotocol/"
_METHODS = {
    "resources/list": "resources",
    "resources/templates/list": "resources",
    "resources/read": "resources",
    "prompts/list": "prompts",
    "prompts/get": "prompts",
    "completion/complete": "completions",
    "logging/setLevel": "logging",
}


class AnyParams(types.RequestParams):
    """Params that the server reads, not we."""

    model_config = ConfigDict(extra="allow")


class _Introduction:
    """Presents the server as what it says it is, and refuses what it does not offer."""

    async def __call__(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        try:
            greeting = _upstream(ctx).greeting()
        except AppError as error:
            raise protocol_error(error, types.INTERNAL_ERROR) from error
        needed = _METHODS.get(ctx.method)
        if needed is not None and needed not in greeting.capabilities:
            raise MCPError(METHOD_NOT_FOUND, "Method not found", ctx.method)
        result = await call_next(ctx)
        if ctx.method in ("initialize", "server/discover") and isinstance(result, dict):
            is_told = is_modern(ctx) or connection_of(ctx).has_standalone_channel
            return result | introduced(greeting, ctx.method, result, is_told=is_told)
        return result


def _no_schema(_name: str) -> None:
    """Headers of arguments are made anew for the server; those that came are not looked at."""


class Translated:
    """One SDK server for all; each request names its own upstream."""

    def __init__(self, operations: Operations) -> None:
        self._ops, self._asking = operations, Asking(operations)
        self._changes = Changes(operations)
        self._streams = Subscriptions(operations, self._changes)
        settings = operations.services.settings
        server: Server[Any] = Server(
            "passed-through", get_tool_input_schema=_no_schema, cache_hints=_HINTS
        )
        for method in _METHODS:
            server.add_request_handler(method, AnyParams, guarded(self._forward))
        server.add_request_handler("tools/list", AnyParams, guarded(self._list))
        server.add_request_handler(
            "tools/call", types.CallToolRequestParams, guarded_tool(self._call)
        )
        server.add_request_handler(
            "subscriptions/listen", types.SubscriptionsListenRequestParams, guarded(self._listen)
        )
        server.add_notification_handler(
            "notifications/initialized", types.NotificationParams, self._initialized
        )
        server.middleware += [_Introduction(), make_boundary(settings)]
        self._sessions = Sessions(server, settings)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """The lifespan of the sessions."""
        async with self._sessions.run():
            yield

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request whose scope names the upstream."""
        await self._sessions(scope, receive, send)

    def farewell(self) -> None:
        """End streams that have no end: the process is about to stop."""
        self._streams.close()

    async def _listen(
        self, context: Context, params: types.SubscriptionsListenRequestParams
    ) -> Result:
        return await self._streams.listen(context, params, _upstream(context).name)

    async def _initialized(self, context: Context, _params: object) -> None:
        tell_of_tools(context, self._changes, _upstream(context).name)

    async def _forward(self, context: Context, _params: Any) -> Result:
        upstream = _upstream(context)
        return await self._asking.ask(context, upstream, context.method, context.params or {})

    async def _list(self, context: Context, _params: Any) -> Result:
        upstream, principal = _upstream(context), Call.of(context).principal
        listed = await self._asking.ask(context, upstream, "tools/list", context.params or {})
        snapshot = self._ops.services.registry.snapshot()
        tools = approved_tools(listed.get("tools", ()), upstream.name, principal, snapshot)
        return listed | {"tools": tools, "cacheScope": "private", "ttlMs": listed.get("ttlMs", 0)}

    async def _call(self, context: Context, params: types.CallToolRequestParams) -> Result:
        upstream = _upstream(context)
        return await self._asking.call(context, upstream, params.name, params.arguments or {})


def _upstream(context: Context) -> Upstream:
    request = context.request
    assert isinstance(request, Request)
    upstream = request.scope[UPSTREAM_KEY]
    assert isinstance(upstream, Upstream)
    return upstream


def introduced(
    greeting: Greeting, method: str, result: Mapping[str, Any], *, is_told: bool
) -> dict[str, Any]:
    """What changes in the SDK's own answer to a handshake or discovery.

    Of what the server announces, only changes of its tools are told, where they can be.
    """
    known = sorted(_OFFERED & greeting.capabilities.keys())
    changed: dict[str, Any] = {"capabilities": {name: {} for name in known}}
    if "tools" in known and is_told:
        changed["capabilities"]["tools"] = {"listChanged": True}
    if greeting.instructions:
        changed["instructions"] = greeting.instructions
    if method == "initialize":
        changed["serverInfo"] = greeting.info
    else:
        stamp = {f"{_RESERVED}serverInfo": greeting.info}
        changed["_meta"] = dict(result.get("_meta") or {}) | stamp
    return changed
