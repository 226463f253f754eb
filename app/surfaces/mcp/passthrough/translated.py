"""The server as the SDK's own server shows it, for clients of an era that the server has not.

Requests are carried over one by one. What a server of 2026-07-28 asks back (`input_required`)
becomes a request to a client of an older revision, and the call is repeated with its answers. An
older server cannot be asked to wait like that, and is told that its client can answer nothing.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import mcp_types as types
from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.context import CallNext, HandlerResult
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types import INVALID_PARAMS, METHOD_NOT_FOUND
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ConfigDict
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from app.kernel.errors import AppError
from app.proxy import Greeting, RawResult, ToolCall, Upstream, raw_result_of
from app.registry import Tool
from app.surfaces.mcp.calls import Call, Context
from app.surfaces.mcp.passthrough.listing import approved_tools
from app.surfaces.mcp.results import Result, guarded, guarded_tool, protocol_error
from app.surfaces.operations import Operations

UPSTREAM_KEY = "uaol.upstream"
_ASKS = "input_required"
_ROUNDS = 10
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
_NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
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


class _Anything(types.Result):
    """A client's answer, which the server reads."""

    model_config = ConfigDict(extra="allow")


class UnfinishedCallError(Exception):
    """A call that ended in a question; nothing is charged until it is answered."""

    def __init__(self, result: Mapping[str, Any]) -> None:
        super().__init__(_ASKS)
        self.result = dict(result)


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
            return result | introduced(greeting, ctx.method, result)
        return result


def _no_schema(_name: str) -> None:
    """Headers of arguments are made anew for the server; those that came are not looked at."""


class Translated:
    """One SDK server for all; each request names its own upstream."""

    def __init__(self, operations: Operations, security: TransportSecuritySettings) -> None:
        self._ops = operations
        settings = operations.services.settings
        server: Server[Any] = Server(
            "passed-through", get_tool_input_schema=_no_schema, cache_hints=_HINTS
        )
        for method in _METHODS:
            server.add_request_handler(method, AnyParams, guarded(self._forward))
        server.add_request_handler("tools/list", AnyParams, guarded(self._list))
        server.add_request_handler("tools/call", AnyParams, guarded_tool(self._call))
        server.middleware.append(_Introduction())
        self._manager = StreamableHTTPSessionManager(
            server, security_settings=security, max_request_body_size=settings.request_limit
        )

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """The lifespan of the sessions."""
        async with self._manager.run():
            yield

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request whose scope names the upstream."""
        await self._manager.handle_request(scope, receive, send)

    async def _forward(self, context: Context, _params: Any) -> Result:
        return await self._ask(context, context.method, dict(context.params or {}))

    async def _list(self, context: Context, _params: Any) -> Result:
        upstream, principal = _upstream(context), Call.of(context).principal
        listed = await self._ask(context, "tools/list", dict(context.params or {}))
        snapshot = self._ops.services.registry.snapshot()
        tools = approved_tools(listed.get("tools", ()), upstream.name, principal, snapshot)
        return listed | {"tools": tools, "cacheScope": "private", "ttlMs": listed.get("ttlMs", 0)}

    async def _call(self, context: Context, _params: Any) -> Result:
        """A call: held, sent, settled; a question back is asked and the call sent again."""
        upstream, principal = _upstream(context), Call.of(context).principal
        params = dict(context.params or {})
        name, arguments = params.get("name"), params.get("arguments")
        if not isinstance(name, str) or not isinstance(arguments, dict | None):
            raise MCPError(INVALID_PARAMS, "A call has a name, and arguments in an object")
        final: list[Result] = []

        async def carry(
            tool: Tool, _call: ToolCall, given: dict[str, Any], timeout_s: float
        ) -> RawResult:
            await upstream.check(tool, timeout_s)
            result = await self._ask(
                context, "tools/call", params | {"arguments": given}, timeout_s
            )
            if result.get("resultType") == _ASKS:
                raise UnfinishedCallError(result)
            final.append(result)
            return raw_result_of(result, upstream.name)

        try:
            await self._ops.calls.call(
                principal, f"{upstream.name}.{name}", arguments or {}, carrier=carry
            )
        except UnfinishedCallError as unfinished:
            return unfinished.result
        return final[-1]

    async def _ask(
        self, context: Context, method: str, params: dict[str, Any], timeout_s: float | None = None
    ) -> Result:
        """The server's result; for an older client its questions are asked on the way."""
        upstream, principal = _upstream(context), Call.of(context).principal
        sent = _stripped(params)
        is_modern = context.protocol_version in MODERN_PROTOCOL_VERSIONS
        capable = context.session.client_capabilities
        for _ in range(_ROUNDS):
            result = await upstream.request(
                principal,
                method,
                sent,
                timeout_s=timeout_s or self._ops.services.settings.tool_timeout,
                name=params.get(_NAMED.get(method, "")),
                capabilities=None
                if capable is None
                else capable.model_dump(mode="json", by_alias=True, exclude_none=True),
                on_progress=context.session.report_progress,
            )
            if is_modern:
                # An older server's results have none.
                return {"resultType": "complete"} | result
            if result.get("resultType") != _ASKS:
                return result
            sent = _stripped(params) | await self._answers(context, result)
        raise MCPError(types.INTERNAL_ERROR, "The server asks without end")

    async def _answers(self, context: Context, result: Mapping[str, Any]) -> dict[str, Any]:
        """What the client says to the server's questions, to be sent with the call again."""
        answers = {}
        for key, asked in dict(result.get("inputRequests") or {}).items():
            answers[key] = await _ask_client(context, asked)
        found: dict[str, Any] = {"inputResponses": answers}
        if "requestState" in result:
            found["requestState"] = result["requestState"]
        return found


async def _ask_client(context: Context, asked: Mapping[str, Any]) -> Any:
    request = types.Request[Any, Any](method=asked.get("method"), params=asked.get("params") or {})
    related = ServerMessageMetadata(related_request_id=context.request_id)
    answer = await context.session.send_request(request, _Anything, metadata=related)  # type: ignore[arg-type]
    return answer.model_dump(mode="json", by_alias=True, exclude_unset=True)


def _upstream(context: Context) -> Upstream:
    request = context.request
    assert isinstance(request, Request)
    upstream = request.scope[UPSTREAM_KEY]
    assert isinstance(upstream, Upstream)
    return upstream


def _stripped(params: Mapping[str, Any]) -> dict[str, Any]:
    """Params without what belongs to this leg of the way: envelope and progress token."""
    meta = {
        key: value
        for key, value in dict(params.get("_meta") or {}).items()
        if not key.startswith(_RESERVED) and key != "progressToken"
    }
    rest = {key: value for key, value in params.items() if key != "_meta"}
    return rest | ({"_meta": meta} if meta else {})


def introduced(greeting: Greeting, method: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """What changes in the SDK's own answer to a handshake or discovery."""
    known = sorted(_OFFERED & greeting.capabilities.keys())
    # Announcements are not carried over.
    changed: dict[str, Any] = {"capabilities": {name: {} for name in known}}
    if greeting.instructions:
        changed["instructions"] = greeting.instructions
    if method == "initialize":
        changed["serverInfo"] = greeting.info
    else:
        stamp = {f"{_RESERVED}serverInfo": greeting.info}
        changed["_meta"] = dict(result.get("_meta") or {}) | stamp
    return changed
