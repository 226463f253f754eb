"""Bodies without end, announced or not: refused at the limit, and kept nowhere."""

import asyncio
import gc
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest
from websockets.exceptions import ConnectionClosed

from tests.security.gateway.conftest import LIMIT, Raw, code_in, free, head, raw
from tests.surfaces.fastpath.conftest import Far
from tests.surfaces.fastpath.test_sessions import sitting
from tests.surfaces.mcp_doors.clients import raw_socket

pytestmark = pytest.mark.anyio
GIGABYTE = 2**30
PIECE = b" " * 2**18
# What the test itself needs for its pieces is in it: client and server are one process here.
GROWTH = 24 * 2**20
MODERN = ("mcp-protocol-version: 2026-07-28", "mcp-method: tools/call", "mcp-name: far.echo")


def _resident() -> int:
    gc.collect()
    return int(psutil.Process().memory_info().rss)


@contextmanager
def _nothing_kept() -> Iterator[None]:
    """However many bodies were refused: none of them is still in memory."""
    before = _resident()
    yield
    assert _resident() - before < GROWTH


async def _pour(line: Raw, piece: bytes) -> int:
    """Send a gigabyte, or what the server takes of it; how much that was."""
    sent = 0
    while sent < GIGABYTE and await line.send(piece):
        sent += len(PIECE)
    return sent


async def _refused(far: Far, start: bytes, piece: bytes) -> bytes:
    """The body of the refusal of a request that goes on for a gigabyte."""
    async with raw(far) as line:
        await line.send(start)
        pouring = asyncio.create_task(_pour(line, piece))
        status, _, body = await line.answer()
        assert status == 413, body
        # The rest is not wanted: the server hangs up long before it has come.
        assert await pouring < GIGABYTE // 4
    return body


PLACES = {
    "/mcp": MODERN,
    "/mcp by the sdk": (*MODERN, "mcp-param-x: 1"),
    "/mcp/servers/far": MODERN,
    "/messages/": (),
    "/v1/jobs": (),
}


async def test_a_gigabyte_at_every_door(far: Far) -> None:
    """Announced, and in chunks that announce nothing."""
    chunk = b"%x\r\n%b\r\n" % (len(PIECE), PIECE)
    with _nothing_kept():
        for place, lines in PLACES.items():
            path = place.partition(" ")[0]
            path += "?session_id=" + "0" * 32 if path == "/messages/" else ""
            announced = head(far, *lines, f"content-length: {GIGABYTE}", path=path)
            chunked = head(far, *lines, "transfer-encoding: chunked", path=path)
            for start, piece in ((announced, PIECE), (chunked, chunk)):
                said = code_in(await _refused(far, start, piece))
                assert said in {"payload_too_large", -32600, -32700}, place
    await free(far)


async def test_a_gigabyte_in_a_session(far: Far) -> None:
    async with sitting(far) as session:
        lines = [f"{name}: {value}" for name, value in session.headers.items()]
        start = head(far, *lines, "transfer-encoding: chunked")
        chunk = b"%x\r\n%b\r\n" % (len(PIECE), PIECE)
        with _nothing_kept():
            await _refused(far, start, chunk)
    await free(far)


async def test_a_gigabyte_in_frames(far: Far) -> None:
    sent = 0
    piece = " " * (LIMIT // 4)

    with _nothing_kept():
        async with raw_socket(far.url, far.world.alice.headers) as socket:

            async def pieces():  # type: ignore[no-untyped-def]
                nonlocal sent
                while sent < GIGABYTE:
                    yield piece
                    sent += len(piece)

            with pytest.raises(ConnectionClosed) as caught:
                await socket.send(pieces())
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1009
    assert sent < GIGABYTE // 4
    await free(far)
