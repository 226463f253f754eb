"""What the server takes of a client: how long it may stall, how large its headers are.

uvicorn itself closes idle connections only. A client that sends a request drop by drop
("slow loris"), that reads no answer, or that goes on sending what was refused long ago, would
hold its connection, and what waits behind it, for ever; headers without end would fill the memory.
"""

import asyncio
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.kernel.errors import AppError, Code
from app.surfaces.cork import corked
from app.surfaces.problems import body_of

# Of a body, in the time that a client may stall: less is no progress.
_LEAST_BYTES = 1024
# Read and thrown away after an answer, so that the client sees it: as nginx's lingering close.
_LINGER_BYTES = 64 * 1024 * 1024
_SWEEPS = 4
_LARGEST_HEAD = 64 * 1024
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-type: application/problem+json\r\n"
    b"content-length: %d\r\nconnection: close\r\n\r\n%b"
)
_PROBLEM = orjson.dumps(
    body_of(
        AppError(
            Code.PAYLOAD_TOO_LARGE,
            f"The headers are larger than {_LARGEST_HEAD} bytes.",
            hint="Send fewer or shorter headers.",
        ),
        "/",
        431,
    )
)


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's, that knows whether its client makes progress."""

    def __init__(self, *args: Any, **keys: Any) -> None:
        super().__init__(*args, **keys)
        self._received = self._unwanted = 0
        self._head_bytes = 0
        self._is_in_head = self._has_host = False
        self._resumed = 0
        self._waits_for: tuple[object, ...] | None = None
        self._looks = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol."""
        super().connection_made(transport)
        self.transport = corked(transport, self.loop)

    def on_message_begin(self) -> None:
        """See httptools."""
        self._received = self._unwanted = self._head_bytes = 0
        self._is_in_head, self._has_host = True, False
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools."""
        super().on_header(name, value)
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > _LARGEST_HEAD:
            raise ValueError("the headers are too large")
        if len(name) == len(b"host") and name.lower() == b"host":
            # Two could be read in two ways (RFC 9112, section 3.2).
            if self._has_host:
                raise ValueError("two hosts")
            self._has_host = True

    def on_headers_complete(self) -> None:
        """See httptools."""
        self._is_in_head = False
        super().on_headers_complete()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        was_in_head = self._is_in_head
        super().data_received(data)
        if was_in_head and self._is_in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > _LARGEST_HEAD:
                self.send_400_response("")

    def send_400_response(self, msg: str) -> None:
        """See uvicorn; headers that are too large have a status of their own (RFC 6585)."""
        if self._head_bytes <= _LARGEST_HEAD:
            super().send_400_response(msg)
            return
        self.transport.write(_TOO_LARGE % (len(_PROBLEM), _PROBLEM))
        self.transport.close()

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        self._received += len(body)
        if self.cycle.response_complete:
            self._unwanted += len(body)
            if self._unwanted > _LINGER_BYTES:
                self.transport.close()
        super().on_body(body)

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._resumed += 1
        super().resume_writing()

    def check(self) -> None:
        """End the connection if its client has made no progress for so many looks at it.

        No clock is asked: while this process itself stood still, no client could get on.
        """
        waits_for = self._state()
        if waits_for is None or waits_for != self._waits_for:
            self._waits_for, self._looks = waits_for, 0
            return
        self._looks += 1
        if self._looks >= _SWEEPS:
            self.transport.abort()

    def _state(self) -> tuple[object, ...] | None:
        """What the client has to do next, with how far it is; None if it is not its turn."""
        cycle = self.cycle
        if self.flow.write_paused:
            return "answer", self._resumed, self.transport.get_write_buffer_size()
        if cycle is None or cycle.response_complete:
            # Between requests uvicorn's own timer runs.
            return None if self.timeout_keep_alive_task else ("head", cycle)
        if cycle.more_body and not self.flow.read_paused:
            return "body", cycle, self._received // _LEAST_BYTES
        return None


async def watch(connections: set[Any], longest_s: float) -> None:
    """Check the connections of a server until cancelled."""
    while True:
        await asyncio.sleep(longest_s / _SWEEPS)
        for one in list(connections):
            if isinstance(one, PatientProtocol):
                one.check()
