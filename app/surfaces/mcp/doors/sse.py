"""HTTP with server-sent events, the transport of protocol 2024-11-05: `/sse` and `/messages/`.

Deprecated since 2025-03-26 and kept for clients that know nothing newer. The stream is held by
one process, so what is posted to it must reach the same one.
"""

import asyncio
from typing import Any

from mcp.server.lowlevel import Server
from mcp.server.sse import SseServerTransport
from starlette.types import Message, Receive, Scope, Send

from app.kernel.errors import AppError
from app.kernel.settings import Settings
from app.surfaces.mcp.doors.entry import entrant_of
from app.surfaces.mcp.doors.origins import Origins, security
from app.surfaces.mcp.doors.streams import Ending, Streams
from app.surfaces.problems import problem

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
        line, answer = _Line(receive), _Answer(send)
        try:
            with self._streams.hold(entrant_of(scope), line.end):
                await self._serve(scope, line, answer)
        except AppError as error:
            await problem(error, PATH)(scope, receive, send)
            return
        if line.is_ended:
            await answer.finish()

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._transport.connect_sse(scope, receive, send) as (read, write):
            options = self._server.create_initialization_options()
            await self._server.run(read, write, options)


class _Line:
    """Tells the SDK that the client has left when the server ends the stream.

    Cancelling it instead would leave the SDK's streams open.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._ended = asyncio.Event()

    @property
    def is_ended(self) -> bool:
        """Whether the server ended the stream."""
        return self._ended.is_set()

    def end(self, _why: Ending) -> None:
        """End the stream."""
        self._ended.set()

    async def __call__(self) -> Message:
        received = asyncio.ensure_future(_message(self._receive))
        ended = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait({received, ended}, return_when=asyncio.FIRST_COMPLETED)
            return received.result() if received.done() else {"type": "http.disconnect"}
        finally:
            received.cancel()
            ended.cancel()


async def _message(receive: Receive) -> Message:
    return await receive()


class _Answer:
    """Knows whether an answer has begun and not ended, so that it can be ended in order."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._is_open = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._is_open = True
        elif not message.get("more_body", False):
            self._is_open = False
        await self._send(message)

    async def finish(self) -> None:
        """The end of a body that was broken off."""
        if self._is_open:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
