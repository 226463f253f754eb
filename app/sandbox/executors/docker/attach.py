"""A container's three streams on one connection, taken apart as they come.

The engine answers `POST /containers/{id}/attach` with a switch of protocols. From then on what we
write is the container's stdin, and what comes is frames of 8 bytes (stream, three zeros, length as
big-endian 32 bits) and a payload: stdout is the runner's wire, stderr its complaint. Format:
Docker Engine API, "Attach to a container", stream format.
"""

import asyncio
from typing import cast

_LIMIT = 2**20
_COMPLAINT_BYTES = 16_384
_MAX_HEAD_BYTES = 65_536
_HEADER = 8
_STDOUT = 1
_UPGRADED = (b"101", b"200")


class Attachment(asyncio.Protocol):
    """The host's end. `reader` has the container's stdout and ends with the connection."""

    def __init__(self) -> None:
        self.reader = asyncio.StreamReader(limit=_LIMIT)
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.Transport | None = None
        self._may_write = asyncio.Event()
        self._is_lost = False
        self._buffer = bytearray()
        self._kind, self._left = 0, 0
        self._complaint = bytearray()

    @property
    def complaint(self) -> str:
        """The end of what the container wrote to stderr."""
        return self._complaint.decode(errors="replace")

    async def send(self, data: bytes) -> None:
        """Bytes to the container's stdin. Raises OSError once the connection is gone."""
        if self._transport is not None and not self._is_lost:
            self._transport.write(data)
            await self._may_write.wait()
        if self._transport is None or self._is_lost:
            raise ConnectionResetError("the sandbox is gone")

    def close(self) -> None:
        """Cut the connection; what was not read of it stays readable."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol. The reader slows the connection down when nobody reads."""
        self._transport = cast("asyncio.Transport", transport)
        self.reader.set_transport(self._transport)
        self._may_write.set()

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self._may_write.clear()

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._may_write.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._is_lost = True
        self._may_write.set()
        if not self.opened.done():
            self.opened.set_exception(ConnectionResetError("the engine hung up"))
        self.reader.feed_eof()

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._buffer += data
        if not self.opened.done():
            self._read_head()
        if self.opened.done():
            self._read_frames()

    def _read_head(self) -> None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0 and len(self._buffer) <= _MAX_HEAD_BYTES:
            return
        status = bytes(self._buffer[9:12])
        if end < 0 or status not in _UPGRADED:
            told = bytes(self._buffer[:500]).decode(errors="replace").replace("\r\n", " ")
            self.opened.set_exception(ConnectionRefusedError(f"the engine refused: {told}"))
            self._buffer.clear()
            self.close()
            return
        del self._buffer[: end + 4]
        self.opened.set_result(None)

    def _read_frames(self) -> None:
        buffer, position = self._buffer, 0
        while position < len(buffer):
            if self._left == 0:
                if len(buffer) - position < _HEADER:
                    break
                self._kind = buffer[position]
                self._left = int.from_bytes(buffer[position + 4 : position + _HEADER], "big")
                position += _HEADER
            part = bytes(buffer[position : position + self._left])
            position += len(part)
            self._left -= len(part)
            self._take(part)
        del buffer[:position]

    def _take(self, part: bytes) -> None:
        if self._kind == _STDOUT:
            self.reader.feed_data(part)
        else:
            self._complaint = (self._complaint + part)[-_COMPLAINT_BYTES:]


async def attach(socket: str, container: str) -> Attachment:
    """Open the streams of a container that has not been started. Raises OSError."""
    loop = asyncio.get_running_loop()
    transport, attachment = await loop.create_unix_connection(Attachment, socket)
    transport.write(
        f"POST /containers/{container}/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\n"
        "Host: docker\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n".encode()
    )
    try:
        await attachment.opened
    except BaseException:
        transport.abort()
        raise
    return attachment
