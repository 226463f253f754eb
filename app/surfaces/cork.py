"""Lets what is written in one turn of the loop leave at once.

uvicorn writes the head of a response and its body one after the other, and both leave at once:
two system calls here, two packets on the wire, and two reads for the client.
"""

import asyncio
from typing import Any, cast

_MOST = 64 * 2**10


class CorkedTransport:
    """A transport that gathers small writes until the loop's next turn."""

    __slots__ = ("_held", "_loop", "_size", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []
        self._size = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """See asyncio.WriteTransport."""
        if not self._held:
            self._loop.call_soon(self.flush)
        self._held.append(data)
        self._size += len(data)
        if self._size > _MOST:
            self.flush()

    def flush(self) -> None:
        """Write what is held; to a connection that is gone, nothing."""
        held, self._held, self._size = self._held, [], 0
        if held and not self._transport.is_closing():
            self._transport.write(held[0] if len(held) == 1 else b"".join(held))

    def close(self) -> None:
        """See asyncio.BaseTransport."""
        self.flush()
        self._transport.close()

    def get_write_buffer_size(self) -> int:
        """See asyncio.WriteTransport."""
        return self._size + self._transport.get_write_buffer_size()


def corked(transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> asyncio.Transport:
    """`transport`, gathering."""
    return cast("asyncio.Transport", CorkedTransport(transport, loop))
