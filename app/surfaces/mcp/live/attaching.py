"""Puts everything that reaches clients unasked on an MCP server."""

from typing import Any

import mcp_types as types
from mcp.server.context import CallNext, HandlerResult
from mcp.server.lowlevel import Server

from app.surfaces.mcp.calls import Context
from app.surfaces.mcp.live.changes import Changes
from app.surfaces.mcp.live.connections import connection_of
from app.surfaces.mcp.live.relaying import relay_progress
from app.surfaces.mcp.live.requeststate import make_boundary
from app.surfaces.mcp.live.sessions import Sessions
from app.surfaces.mcp.live.subscriptions import Subscriptions
from app.surfaces.mcp.results import guarded
from app.surfaces.mcp.rights import RightfulServer
from app.surfaces.operations import Operations

_LISTS = ("tools", "resources")


class Live:
    """Subscriptions, log levels, relayed progress and sealed states, for one server."""

    def __init__(self, operations: Operations) -> None:
        self._settings = operations.services.settings
        changes = Changes(operations)
        self.streams = Subscriptions(operations, changes)
        self.sessions = Sessions(operations, changes)

    def register(self, server: Server[Any]) -> None:
        """Serve the methods of both eras, and add the middleware."""
        streams, sessions = self.streams, self.sessions
        server.add_request_handler(
            "subscriptions/listen", types.SubscriptionsListenRequestParams, guarded(streams.listen)
        )
        server.add_request_handler(
            "resources/subscribe", types.SubscribeRequestParams, guarded(sessions.subscribe)
        )
        server.add_request_handler(
            "resources/unsubscribe", types.UnsubscribeRequestParams, guarded(sessions.unsubscribe)
        )
        server.add_request_handler(
            "logging/setLevel", types.SetLevelRequestParams, guarded(sessions.set_level)
        )
        server.add_notification_handler(
            "notifications/initialized", types.NotificationParams, sessions.initialized
        )
        if isinstance(server, RightfulServer):
            server.farewell = streams.close
            server.sittings = sessions.sittings
        server.middleware += [make_boundary(self._settings), _announce_changes, relay_progress]


async def _announce_changes(ctx: Context, call_next: CallNext) -> HandlerResult:
    """Say in the handshake what a session will be told; the SDK leaves that to the transport.

    Without sessions nothing can be told: that is said as well.
    """
    result = await call_next(ctx)
    if ctx.method != "initialize" or not isinstance(result, dict):
        return result
    is_told = connection_of(ctx).has_standalone_channel
    capabilities = dict(result["capabilities"])
    for kind in _LISTS:
        if kind in capabilities:
            capabilities[kind] = {**capabilities[kind], "listChanged": is_told}
    if not is_told:
        capabilities.pop("logging", None)
        capabilities.get("resources", {}).pop("subscribe", None)
    return {**result, "capabilities": capabilities}
