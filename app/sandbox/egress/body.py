"""The body of a plain request, cut to exactly what its head announced and framed anew."""

import asyncio
import re
from collections.abc import AsyncGenerator

from app.sandbox.egress.answers import RefusedError

_CHUNK = 2**16
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}\r\n")
_LONGEST_SIZE = 10
_MAX_CHUNKS = 10_000


async def plain_body(reader: asyncio.StreamReader, length: int) -> AsyncGenerator[bytes, None]:
    """The next `length` bytes. Raises asyncio.IncompleteReadError at an early end."""
    left = length
    while left:
        data = await _some(reader, left)
        left -= len(data)
        yield data


async def chunked_body(reader: asyncio.StreamReader) -> AsyncGenerator[bytes, None]:
    """Chunks up to the last, framed as they came (RFC 9112, section 7.1).

    Raises RefusedError for chunks that are not exact, asyncio.IncompleteReadError at an early
    end. Chunk extensions and trailers are refused: nobody needs them, parsers disagree on them.
    """
    size, count = -1, 0
    while size:
        # What is in the buffer is read without a pause, and others must have their turn.
        await asyncio.sleep(0)
        size = left = await _size(reader)
        count += 1
        if count > _MAX_CHUNKS:
            raise RefusedError("malformed", "Malformed request: too many chunks")
        yield b"%x\r\n" % size
        while left:
            data = await _some(reader, left)
            left -= len(data)
            yield data
        if await reader.readexactly(2) != b"\r\n":
            raise _bad()
        yield b"\r\n"


async def _some(reader: asyncio.StreamReader, most: int) -> bytes:
    data = await reader.read(min(most, _CHUNK))
    if not data:
        raise asyncio.IncompleteReadError(b"", most)
    return data


async def _size(reader: asyncio.StreamReader) -> int:
    line = b""
    while not line.endswith(b"\n"):
        line += await reader.readexactly(1)
        if len(line) > _LONGEST_SIZE:
            raise _bad()
    if not _SIZE.fullmatch(line):
        raise _bad()
    return int(line, 16)


def _bad() -> RefusedError:
    return RefusedError("malformed", "Malformed request: a chunk of the body")
