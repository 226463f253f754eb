"""The MCP doors on the web server: their paths, the gate before them, their lifespan."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from app.kernel.errors import AppError, Code
from app.kernel.loops import known_by
from app.kernel.principal import Scope as Right
from app.surfaces.mcp.doors import (
    Gate,
    Needs,
    Resource,
    Sessions,
    SocketDoor,
    SseDoor,
    security,
)
from app.surfaces.mcp.doors.sse import MESSAGES
from app.surfaces.mcp.doors.sse import PATH as SSE
from app.surfaces.mcp.doors.websocket import PATH as WEBSOCKET
from app.surfaces.mcp.live.requeststate import request_state_keys
from app.surfaces.mcp.passthrough import SERVERS, Passthrough
from app.surfaces.mcp.server import make_server
from app.surfaces.operations import Operations
from app.surfaces.problems import problem

__all__ = ["Gateway", "security"]
PATH = "/mcp"


class Gateway:
    """Serves both eras, over every transport. `run` can be entered once."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        settings = operations.services.settings
        known_by(lambda: request_state_keys(settings)[0])
        self._is_stateless = settings.mcp_legacy_sessions == "stateless"
        self.streams = operations.streams
        operations.services.metrics.watch_streams(lambda: len(self.streams))
        self._resource = Resource(settings)
        self.server = make_server(operations)
        self._sessions = Sessions(self.server, settings, stateless=self._is_stateless)
        self._servers = Passthrough(operations, security(settings))
        # Exact routes: a mount would answer POST /mcp with a redirect to itself.
        self.routes: list[BaseRoute] = [
            Route(PATH, endpoint=self.gate(self._streamable(), self.server.right_of)),
            *self._sse(),
            WebSocketRoute(WEBSOCKET, endpoint=self._socket()),
            Route(SERVERS, endpoint=self.gate(self._servers, lambda _name: Right.TOOLS)),
            *self._resource.routes(),
        ]

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """The lifespan of the sessions and of the streams' watch."""
        async with self._sessions.run(), self._servers.run():
            watch = asyncio.create_task(self.streams.run(), name="mcp-streams")
            try:
                yield
            finally:
                watch.cancel()
                await asyncio.gather(watch, return_exceptions=True)

    def farewell(self) -> None:
        """End open subscriptions with their result: the process is about to stop."""
        self._servers.farewell()
        if self.server.farewell is not None:
            self.server.farewell()

    def gate(self, app: ASGIApp, needs: Needs | None = None) -> Gate:
        """`app` behind the check of who calls, and with `needs` of what its tools need."""
        limit = self._operations.services.settings.request_limit
        return Gate(
            app,
            self._operations.access,
            self._resource,
            self.streams,
            needs=needs,
            limit=limit,
        )

    def _streamable(self) -> ASGIApp:
        return _PostOnly(self._sessions) if self._is_stateless else self._sessions

    def _sse(self) -> list[BaseRoute]:
        if self._is_stateless:
            # Its streams are held by one process; nothing may promise that any process answers.
            return []
        door = SseDoor(self.server, self._operations.services.settings, self.streams)
        return [
            Route(SSE, endpoint=self.gate(door.open), methods=["GET"]),
            Route(MESSAGES, endpoint=self.gate(door.post, self.server.right_of), methods=["POST"]),
        ]

    def _socket(self) -> SocketDoor:
        settings, access = self._operations.services.settings, self._operations.access
        return SocketDoor(self.server, access, settings, self._resource, self.streams)


class _PostOnly:
    """Where sessions are not kept there is no stream to GET, and nothing to DELETE."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST":
            await self._app(scope, receive, send)
            return
        error = AppError(
            Code.METHOD_NOT_ALLOWED,
            f"{scope['method']} is not possible where sessions are not kept.",
            hint="Use POST.",
        )
        answer = problem(error, scope["path"])
        answer.headers["allow"] = "POST"
        await answer(scope, receive, send)
