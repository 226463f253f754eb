"""Both directions of one HTTP exchange, so that the server can end a stream in order."""

import asyncio
from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import Message, Receive, Send

from app.surfaces.streams import Ending


class Line:
    """Tells the SDK that the client has left when the server ends the stream.

    Cancelling it instead would leave the SDK's streams open.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._ended = asyncio.Event()
        self._has_body = False

    @property
    def is_ended(self) -> bool:
        """Whether the server ended the stream."""
        return self._ended.is_set()

    def end(self, _why: Ending) -> None:
        """End the stream."""
        self._ended.set()

    async def __call__(self) -> Message:
        if self._has_body:
            return await self._next()
        message = await self._receive()
        self._has_body = not message.get("more_body", False)
        return message

    async def _next(self) -> Message:
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


class Answer:
    """Knows whether an answer is a stream that has begun and not ended."""

    def __init__(self, send: Send, on_stream: Callable[[], object]) -> None:
        """`on_stream` is called before the first event of a stream."""
        self._send = send
        self._on_stream = on_stream
        self._is_open = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            kind = Headers(raw=message.get("headers", [])).get("content-type", "")
            if kind.startswith("text/event-stream"):
                self._is_open = True
                self._on_stream()
        elif not message.get("more_body", False):
            self._is_open = False
        await self._send(message)

    async def finish(self) -> None:
        """The end of a stream that was broken off."""
        if self._is_open:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
