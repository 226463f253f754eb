"""HTTP with server-sent events, the transport of protocol 2024-11-05: `/sse` and `/messages/`.

Deprecated since 2025-03-26 and kept for clients that know nothing newer. The stream is held by
one process, so what is posted to it must reach the same one.
"""

from typing import Any

from mcp.server.lowlevel import Server
from mcp.server.sse import SseServerTransport
from starlette.types import Receive, Scope, Send

from app.kernel.errors import AppError
from app.kernel.settings import Settings
from app.surfaces.mcp.doors.entry import entrant_of
from app.surfaces.mcp.doors.line import Line
from app.surfaces.mcp.doors.origins import Origins, security
from app.surfaces.problems import problem
from app.surfaces.streams import Streams

PATH = "/sse"
MESSAGES = "/messages/"


class SseDoor:
    """Two endpoints, each to be put behind a gate. The SDK binds a stream to who opened it."""

    def __init__(self, server: Server[Any], settings: Settings, streams: Streams) -> None:
        self._server = server
        self._streams = streams
        self._origins = Origins(settings)
        self._transport = SseServerTransport(
            MESSAGES,
            security_settings=security(settings),
            max_request_body_size=settings.request_limit,
        )

    async def post(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`POST /messages/`: a message to the stream that it names."""
        await self._transport.handle_post_message(scope, receive, send)

    async def open(self, scope: Scope, receive: Receive, send: Send) -> None:
        """`GET /sse`: a stream, until the client leaves or its credential is over."""
        if (refusal := await self._origins.refusal(scope)) is not None:
            await refusal(scope, receive, send)
            return
        line = Line(receive)
        try:
            with self._streams.hold(entrant_of(scope), line.end):
                await self._serve(scope, line, send)
        except AppError as error:
            await problem(error, PATH)(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._transport.connect_sse(scope, receive, send) as (read, write):
            options = self._server.create_initialization_options()
            await self._server.run(read, write, options)
