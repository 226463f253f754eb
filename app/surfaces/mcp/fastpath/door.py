"""Where requests part: those that the fast way answers, and those that go on."""

from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from app.surfaces.mcp.doors import security
from app.surfaces.mcp.fastpath.duties import Duties
from app.surfaces.mcp.fastpath.modern import Lists, ModernRequests
from app.surfaces.mcp.fastpath.older import SessionRequests
from app.surfaces.mcp.frames import LIST, Frames
from app.surfaces.mcp.framing import Framing
from app.surfaces.mcp.rights import RightfulServer
from app.surfaces.mcp.sittings import HEADER
from app.surfaces.operations import Operations
from app.surfaces.problems import problem, unexpected

PATH = "/mcp"
_SESSION = HEADER.encode()


class FastPath:
    """Looks at every request before the application does."""

    def __init__(self, modern: ModernRequests, older: SessionRequests) -> None:
        self._modern = modern
        self._older = older

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> Receive | None:
        """Answer the request; or give what is left to receive of one for the application."""
        if scope["type"] != "http" or scope["path"] != PATH:
            return receive
        session = next((value for name, value in scope["headers"] if name == _SESSION), None)
        if scope["method"] == "POST":
            if session is None:
                return await self._modern.handle(scope, receive, send)
            return await self._older.handle(session, scope, receive, send)
        if scope["method"] == "DELETE" and session is not None:
            # Before the SDK has ended it: nothing is carried out in a session afterwards.
            self._older.end(session)
        return receive


class Application(FastAPI):
    """An application with a fast way before it, and before all of its middleware."""

    front: FastPath | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        left: Receive | None = receive
        if self.front is not None:
            try:
                left = await self.front.handle(scope, receive, send)
            except Exception as error:  # noqa: BLE001 - the border; its cause is in the log
                await problem(unexpected(error, PATH), PATH)(scope, receive, send)
                return
        if left is not None:
            await super().__call__(scope, left, send)


def install(app: Application, operations: Operations, server: RightfulServer) -> None:
    """Put the fast way before an application, whose own MCP server is `server`."""
    services = operations.services
    limit, observe = services.settings.request_limit, services.metrics.observe_http
    assert server.first_page is not None
    assert server.sittings is not None
    duties = Duties(services.proxy.fast, operations.calls.charges)
    frames, framing = Frames(security(services.settings)), Framing(server.server_info_stamp)
    app.front = FastPath(
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
