"""MCP over a WebSocket at `/ws`: a custom transport, as the specification allows.

Who connects is known before the socket is accepted: by the `Authorization` header, or by a
one-time ticket among the subprotocols, because a browser can send nothing else. Never by the
query string, which ends up in logs. See `docs/reference/websocket.md`.
"""

from typing import Any

from mcp.server.lowlevel import Server
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from app.auth import Entrant
from app.kernel.errors import AppError, Code
from app.kernel.settings import Settings
from app.surfaces.context import Access
from app.surfaces.mcp.doors.conversation import Closing, Conversation
from app.surfaces.mcp.doors.entry import enter
from app.surfaces.mcp.doors.origins import as_http
from app.surfaces.mcp.doors.resource import Resource
from app.surfaces.problems import problem
from app.surfaces.streams import Ending, Streams

PATH = "/ws"
SUBPROTOCOL = "mcp"
TICKET = "uaol.ticket."
_CLOSINGS = {Ending.CREDENTIAL: Closing.UNAUTHENTICATED, Ending.AGE: Closing.TOO_LONG}


class SocketDoor:
    """The endpoint. It does what the gate does for HTTP, then hands over to a conversation."""

    def __init__(
        self,
        server: Server[Any],
        access: Access,
        settings: Settings,
        resource: Resource,
        streams: Streams,
    ) -> None:
        self._server = server
        self._access = access
        self._settings = settings
        self._resource = resource
        self._streams = streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if (refusal := await self._resource.refusal(scope)) is not None:
            await _refuse(refusal, scope, receive, send)
            return
        try:
            entrant = await self._admit(scope)
            await self._converse(entrant, scope, receive, send)
        except AppError as error:
            await _refuse(self._problem(error, scope), scope, receive, send)

    async def _admit(self, scope: Scope) -> Entrant:
        offered = scope["subprotocols"]
        if SUBPROTOCOL not in offered:
            raise AppError(
                Code.INVALID_INPUT,
                "The WebSocket does not offer the subprotocol 'mcp'.",
                hint="Send `Sec-WebSocket-Protocol: mcp`.",
            )
        authorization = Headers(scope=scope).get("authorization")
        tickets = [each.removeprefix(TICKET) for each in offered if each.startswith(TICKET)]
        if authorization is None and len(tickets) == 1:
            return await self._access.redeem(tickets[0])
        return await self._access.admit(authorization)

    async def _converse(self, entrant: Entrant, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the socket; raises only as long as it is not accepted."""
        opening = as_http(scope)
        enter(opening, entrant)
        conversation = Conversation(
            self._server,
            Request(opening),
            receive,
            send,
            largest=self._settings.request_limit,
            most_calls=self._settings.mcp_stream_calls,
        )

        def end(ending: Ending) -> None:
            conversation.end(_CLOSINGS[ending], ending.value)

        with self._streams.hold(entrant, end):
            await send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL})
            await conversation.run()

    def _problem(self, error: AppError, scope: Scope) -> JSONResponse:
        response = problem(error, scope["path"])
        if error.code is Code.UNAUTHENTICATED:
            is_given = "authorization" in Headers(scope=scope)
            said = self._resource.challenge(scope, "invalid_token" if is_given else None)
            response.headers["www-authenticate"] = said
        return response


async def _refuse(answer: JSONResponse, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer the opening request with HTTP; a server that cannot do so says 403 by itself."""
    if "websocket.http.response" in scope.get("extensions", {}):
        await answer(scope, receive, send)
    else:
        await send({"type": "websocket.close", "code": Closing.POLICY})
