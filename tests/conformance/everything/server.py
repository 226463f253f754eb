"""Puts the fixtures together: an MCP server of both eras, as an ASGI application."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import mcp_types as types
from mcp.server.caching import CacheHint
from mcp.server.lowlevel import Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.streamable_http import EventCallback, EventMessage, EventStore
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.exceptions import MCPError
from starlette.applications import Starlette

from tests.conformance.everything import shelves
from tests.conformance.everything.asking import Context, is_modern
from tests.conformance.everything.blocks import Wire
from tests.conformance.everything.tools import TOOLS

_HINT = CacheHint(ttl_ms=1_000, scope="public")
_CACHED: Any = (
    "tools/list",
    "prompts/list",
    "resources/list",
    "resources/templates/list",
    "resources/read",
)
_RETRY_MS = 100


class Events(EventStore):
    """Keeps every event of every stream, so that a client can come back for what it missed."""

    def __init__(self) -> None:
        self._events: list[tuple[str, types.JSONRPCMessage | None]] = []

    async def store_event(self, stream_id: str, message: types.JSONRPCMessage | None) -> str:
        self._events.append((stream_id, message))
        return str(len(self._events))

    async def replay_events_after(
        self, last_event_id: str, send_callback: EventCallback
    ) -> str | None:
        if not last_event_id.isdecimal() or not 0 < int(last_event_id) <= len(self._events):
            return None
        start = int(last_event_id)
        stream = self._events[start - 1][0]
        for number, (owner, message) in enumerate(self._events[start:], start + 1):
            if owner == stream and message is not None:
                await send_callback(EventMessage(message, str(number)))
        return stream


async def list_tools(_context: Context, _params: Any) -> Wire:
    return {"tools": [fixture.listed(name) for name, fixture in TOOLS.items()]}


async def call_tool(context: Context, params: types.CallToolRequestParams) -> Wire:
    fixture = TOOLS.get(params.name)
    if fixture is None:
        raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name}")
    return await fixture.run(context, params.arguments or {})


async def acknowledge(_context: Context, _params: Any) -> Wire:
    return {}


def _complete(handler: Any) -> Any:
    """Results say that they are complete, unless they say something else (2026-07-28)."""

    async def run(context: Context, params: Any) -> Wire:
        result = await handler(context, params)
        return {"resultType": "complete", **result} if is_modern(context) else result

    return run


def _schema(name: str) -> Wire | None:
    return TOOLS[name].schema if name in TOOLS else None


def make_server() -> Server[Any]:
    """The server; its lifespan's value is the bus of changes."""
    bus = InMemorySubscriptionBus()

    @asynccontextmanager
    async def lifespan(_server: Server[Any]) -> AsyncIterator[InMemorySubscriptionBus]:
        yield bus

    server: Server[Any] = Server(
        "everything",
        version="1.0.0",
        instructions="Call what the suite names.",
        lifespan=lifespan,
        cache_hints=dict.fromkeys(_CACHED, _HINT),
        get_tool_input_schema=_schema,
        on_subscriptions_listen=ListenHandler(bus),
    )
    page, subscribe = types.PaginatedRequestParams, types.SubscribeRequestParams
    handlers: list[tuple[str, type[Any], Any]] = [
        ("tools/list", page, list_tools),
        ("tools/call", types.CallToolRequestParams, call_tool),
        ("resources/list", page, shelves.list_resources),
        ("resources/templates/list", page, shelves.list_templates),
        ("resources/read", types.ReadResourceRequestParams, shelves.read_resource),
        ("resources/subscribe", subscribe, acknowledge),
        ("resources/unsubscribe", types.UnsubscribeRequestParams, acknowledge),
        ("prompts/list", page, shelves.list_prompts),
        ("prompts/get", types.GetPromptRequestParams, shelves.get_prompt),
        ("completion/complete", types.CompleteRequestParams, shelves.complete_argument),
        ("logging/setLevel", types.SetLevelRequestParams, acknowledge),
    ]
    for method, params, handler in handlers:
        server.add_request_handler(method, params, _complete(handler))
    server.middleware.append(
        RequestStateBoundary(RequestStateSecurity.ephemeral(), default_audience="everything")
    )
    return server


def make_app() -> Starlette:
    """The server at `/mcp`, for loopback."""
    return make_server().streamable_http_app(event_store=Events(), retry_interval=_RETRY_MS)
