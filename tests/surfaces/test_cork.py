import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from app.surfaces.cork import CorkedTransport

pytestmark = pytest.mark.anyio


class Counted(CorkedTransport):
    """Notes what leaves together."""

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(transport, loop)
        self.left: list[int] = []

    def flush(self) -> None:
        if self._size:
            self.left.append(self._size)
        super().flush()


@asynccontextmanager
async def joined() -> AsyncIterator[tuple[Counted, socket.socket]]:
    """A transport, and the other end of its connection."""
    here, there = socket.socketpair()
    there.setblocking(False)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=here)
    with there:
        yield Counted(transport, loop), there
        transport.abort()
        await asyncio.sleep(0)


async def received(there: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await asyncio.get_running_loop().sock_recv(there, size - len(data))
    return data


async def test_what_is_written_in_one_turn_leaves_together() -> None:
    async with joined() as (cork, there):
        cork.write(b"head")
        cork.write(b"body")
        assert cork.get_write_buffer_size() == 8
        assert await received(there, 8) == b"headbody"
        assert cork.left == [8]


async def test_a_head_does_not_wait_for_its_body() -> None:
    async with joined() as (cork, there):
        cork.write(b"head")
        assert await received(there, 4) == b"head"
        cork.write(b"body")
        assert await received(there, 4) == b"body"
        assert cork.left == [4, 4]


async def test_much_is_not_held_back() -> None:
    async with joined() as (cork, there):
        cork.write(bytes(40_000))
        cork.write(bytes(40_000))
        assert cork.left == [80_000]
        assert len(await received(there, 80_000)) == 80_000


async def test_closing_sends_what_is_held() -> None:
    async with joined() as (cork, there):
        cork.write(b"the last")
        cork.close()
        assert await received(there, 8) == b"the last"
        assert await asyncio.get_running_loop().sock_recv(there, 1) == b""


async def test_aborting_sends_nothing_more() -> None:
    async with joined() as (cork, there):
        cork.write(b"held")
        cork.abort()
        await asyncio.sleep(0)
        assert await asyncio.get_running_loop().sock_recv(there, 4) == b""
