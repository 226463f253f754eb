"""One HTTP/1.1 connection: a request at a time, its response as it comes (RFC 9112).

Of our own, over a parser that is not: a client library's way from call to socket and back costs
more than all the rest of a call. What is not needed is not here: no redirects, cookies, proxies,
decompression, upgrades or pipelining.
"""

import asyncio
from typing import cast

import httptools

_LARGEST_HEAD = 64 * 2**10
_HIGH_WATER = 256 * 2**10
_SWITCHING = 101
_FIRST_FINAL = 200


class BrokenOffError(OSError):
    """The connection ended, or went on in what is no HTTP, before the response was whole."""


class CutError(BrokenOffError):
    """The connection ended before a byte of the response came."""


class UnsentError(BrokenOffError):
    """The connection had ended before a byte of the request left."""


class Response:
    """A response that has begun. Names in `headers` are in lower case; of several, the first."""

    def __init__(self, status: int, headers: dict[str, str], connection: "Connection") -> None:
        self.status = status
        self.headers = headers
        self._connection = connection

    @property
    def content_length(self) -> int | None:
        """What the server announces, in bytes."""
        given = self.headers.get("content-length", "")
        return int(given) if given.isascii() and given.isdigit() else None

    async def chunk(self) -> bytes:
        """What has come of the body since the last time, nothing at its end.

        Raises `BrokenOffError`.
        """
        return await self._connection.chunk()


class Connection(asyncio.Protocol):
    """Carries requests one after the other for as long as `is_reusable` says so."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._fault: OSError | None = None
        self._is_busy = False
        self.idle_since = 0.0
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._head: asyncio.Future[Response] | None = None
        self._around = 0
        self._has_head = self._is_whole = False
        self._parts: list[bytes] = []
        self._waiting: asyncio.Future[None] | None = None
        self.buffered = 0
        self.is_paused = False

    @property
    def is_reusable(self) -> bool:
        """Whether another request can be sent."""
        # What nobody read has paused it, and would keep the next response from coming.
        is_free = (self._is_whole or not self._is_busy) and not self.is_paused
        return is_free and self._fault is None and self.is_open

    @property
    def is_open(self) -> bool:
        """Whether the connection still stands, as far as is known here."""
        return self._transport is not None and not self._transport.is_closing()

    async def send(self, request: bytes) -> Response:
        """Send a whole request; the response as it begins.

        Raises `UnsentError`, `CutError`, `BrokenOffError`.
        """
        if self._transport is None or not self.is_reusable:
            raise UnsentError("the connection was closed")
        if self._is_busy:
            self._begin()
        self._is_busy = True
        self._head = self._loop.create_future()
        self._transport.write(request)
        return await self._head

    async def chunk(self) -> bytes:
        """See `Response.chunk`."""
        while not self._parts:
            if self._is_whole:
                return b""
            if self._fault is not None:
                raise self._fault
            self._waiting = self._loop.create_future()
            await self._waiting
        part = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts.clear()
        self.buffered = 0
        self._resume()
        return part

    def close(self) -> None:
        """End the connection now, whatever is still to come."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        # One of uvloop's is none by its class.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if not self._is_busy or self._is_whole:
            self._fail(BrokenOffError("the server speaks unasked"))
            return
        self._around += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, ValueError) as error:
            self._fail(BrokenOffError(f"what came is no HTTP response ({type(error).__name__})"))
            return
        if self._around > _LARGEST_HEAD:
            # Those after the body, too, and what is written between its chunks.
            self._fail(BrokenOffError("its headers are too large"))
        if self.buffered > _HIGH_WATER and not self.is_paused and self._transport is not None:
            self.is_paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        """See asyncio.Protocol; nobody answers a server that has hung up."""
        return False

    def connection_lost(self, error: Exception | None) -> None:
        """See asyncio.Protocol."""
        if self._has_head and not self._is_whole and self._fault is None and self._is_till_end():
            self._is_whole = True
            self._fault = BrokenOffError("the connection was closed")
            self._wake()
            return
        kind = BrokenOffError if self._has_head or self._around else CutError
        self._fail(kind(str(error) if error else "the connection was closed"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools; what stands after a body is none of the response's headers."""
        if self._has_head:
            return
        self._headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1").strip())

    def on_headers_complete(self) -> None:
        """See httptools."""
        status = self._parser.get_status_code()
        if status == _SWITCHING:
            raise ValueError("an upgrade that nobody asked for")
        if status < _FIRST_FINAL:
            return
        self._has_head = True
        if self._head is not None and not self._head.done():
            self._head.set_result(Response(status, self._headers, self))

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        self._parts.append(body)
        self._around = 0
        self.buffered += len(body)
        self._wake()

    def on_message_begin(self) -> None:
        """See httptools."""
        if self._is_whole:
            raise ValueError("a second response")

    def on_message_complete(self) -> None:
        """See httptools."""
        if not self._has_head:
            # An interim response (RFC 9110, section 15.2); the final one follows.
            self._headers = {}
            return
        self._is_whole = True
        # A server that has not waited for the request might take its rest for another one.
        is_sent = self._transport is not None and not self._transport.get_write_buffer_size()
        if not is_sent or not self._parser.should_keep_alive():
            self._fault = BrokenOffError("the connection was closed")
        self._wake()

    def _is_till_end(self) -> bool:
        """Whether the body's end is that of the connection (RFC 9112, section 6.3)."""
        return not self._headers.keys() & {"content-length", "transfer-encoding"}

    def _fail(self, fault: OSError) -> None:
        if self._fault is None:
            self._fault = fault
        if self._head is not None and not self._head.done():
            self._head.set_exception(self._fault)
        self._wake()
        self.close()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _resume(self) -> None:
        if self.is_paused and self._transport is not None and self.is_open:
            self.is_paused = False
            self._transport.resume_reading()
