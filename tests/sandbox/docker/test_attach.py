"""The attach stream, in the engine's true form: cut anywhere, refused, broken off, too fast."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.sandbox.executors.docker.attach import Attachment, attach
from tests.sandbox.docker.engine import until

pytestmark = pytest.mark.anyio

UPGRADED = (
    b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.raw-stream\r\n"
    b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
)
STDOUT, STDERR = 1, 2

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def frame(stream: int, payload: bytes) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(payload).to_bytes(4, "big") + payload


@asynccontextmanager
async def played(folder: Path, answer: Answer) -> AsyncIterator[str]:
    """A socket at which each request's head is read and `answer` has the rest."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"POST /containers/abc/attach?stream=1&stdin=1&stdout=1&stderr=1 ")
        assert b"Upgrade: tcp" in head
        await answer(reader, writer)
        writer.close()

    server = await asyncio.start_unix_server(serve, folder / "s")
    yield str(folder / "s")
    server.close()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 64, 1000])
async def test_frames_are_taken_apart_wherever_they_are_cut(tmp_path: Path, size: int) -> None:
    sent = (
        UPGRADED + frame(STDOUT, b"Wone") + frame(STDERR, b"Traceback") + frame(STDOUT, b"")
        + frame(STDOUT, bytes(range(256))) + frame(STDERR, b" of ours")
    )  # fmt: skip

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for start in range(0, len(sent), size):
            writer.write(sent[start : start + size])
            await writer.drain()

    async with played(tmp_path, answer) as socket:
        attachment = await attach(socket, "abc")
        assert await attachment.reader.read() == b"Wone" + bytes(range(256))
        assert attachment.complaint == "Traceback of ours"


async def test_what_is_sent_arrives(tmp_path: Path) -> None:
    arrived = bytearray()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(UPGRADED)
        arrived.extend(await reader.readexactly(3 * 2**20))

    async with played(tmp_path, answer) as socket:
        attachment = await attach(socket, "abc")
        await attachment.send(b"ab" * 2**20)
        await attachment.send(b"c" * 2**20)
        assert await attachment.reader.read() == b""
    assert arrived == b"ab" * 2**20 + b"c" * 2**20


async def test_a_refusal_is_told(tmp_path: Path) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{"message":"no such"}')

    async with played(tmp_path, answer) as socket:
        with pytest.raises(ConnectionRefusedError, match="404"):
            await attach(socket, "abc")


async def test_a_hang_up_instead_of_an_answer_is_an_error(tmp_path: Path) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(UPGRADED[:20])

    async with played(tmp_path, answer) as socket:
        with pytest.raises(ConnectionResetError):
            await attach(socket, "abc")


async def test_nothing_can_be_sent_to_what_is_gone(tmp_path: Path) -> None:
    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(UPGRADED)

    async with played(tmp_path, answer) as socket:
        attachment = await attach(socket, "abc")
        await attachment.reader.read()
        with pytest.raises(OSError, match="gone"):
            await attachment.send(b"x")


async def test_a_sandbox_that_talks_too_fast_has_to_wait(tmp_path: Path) -> None:
    total, piece = 32 * 2**20, bytes(2**16)

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(UPGRADED)
        for _index in range(total // len(piece)):
            writer.write(frame(STDOUT, piece))
            await writer.drain()

    async with played(tmp_path, answer) as socket:
        attachment = await attach(socket, "abc")
        await until(lambda: _is_paused(attachment))
        assert len(attachment.reader._buffer) < total // 4  # type: ignore[attr-defined]
        assert len(await attachment.reader.read()) == total


def _is_paused(attachment: Attachment) -> bool:
    assert attachment._transport is not None
    return not attachment._transport.is_reading()
