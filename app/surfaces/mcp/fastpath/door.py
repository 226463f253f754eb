"""Where requests part: those that the fast way answers, and those that go on."""

from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from app.surfaces.mcp.doors import security
from app.surfaces.mcp.fastpath.duties import Duties
from app.surfaces.mcp.fastpath.modern import Lists, ModernRequests
from app.surfaces.mcp.fastpath.older import SessionRequests
from app.surfaces.mcp.frames import LIST, Frames
from app.surfaces.mcp.framing import Framing
from app.surfaces.mcp.rights import RightfulServer
from app.surfaces.mcp.sittings import HEADER
from app.surfaces.operations import Operations

PATH = "/mcp"
_SESSION = HEADER.encode()


class FastPath:
    """An ASGI application before another one."""

    def __init__(self, app: ASGIApp, *, modern: ModernRequests, older: SessionRequests) -> None:
        self._app = app
        self._modern = modern
        self._older = older

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        left: Receive | None = receive
        if scope["type"] == "http" and scope["path"] == PATH:
            session = next((value for name, value in scope["headers"] if name == _SESSION), None)
            if scope["method"] == "POST":
                if session is None:
                    left = await self._modern.handle(scope, receive, send)
                else:
                    left = await self._older.handle(session, scope, receive, send)
            elif scope["method"] == "DELETE" and session is not None:
                # Before the SDK has ended it: nothing is carried out in a session afterwards.
                self._older.end(session)
        if left is not None:
            await self._app(scope, left, send)


def install(app: Starlette, operations: Operations, server: RightfulServer) -> None:
    """Put the fast way before an application, whose own MCP server is `server`."""
    services = operations.services
    limit, observe = services.settings.request_limit, services.metrics.observe_http
    assert server.first_page is not None
    assert server.sittings is not None
    duties = Duties(services.proxy.fast, operations.calls.charges)
    frames, framing = Frames(security(services.settings)), Framing(server.server_info_stamp)
    app.add_middleware(
        FastPath,
        modern=ModernRequests(
            operations.access.authenticate,
            duties,
            frames,
            framing,
            Lists(server.first_page, server.cache_hints[LIST]),
            observe,
            limit,
        ),
        older=SessionRequests(
            operations.access.admit, duties, frames, server.sittings, observe, limit
        ),
    )
