"""The platform served on a socket, a server behind it, and a client that keeps no rules."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import orjson

from tests.books import assert_balanced
from tests.surfaces.conftest import wakeups, world
from tests.surfaces.fastpath.conftest import Far, far, settings

__all__ = ["far", "settings", "wakeups", "world"]

LIMIT = 64 * 1024
"""The largest body that the platform of these tests takes (`request_limit`)."""


async def free(far: Far) -> None:
    """Nothing was charged or is held, nothing reached the server, and the books balance."""
    assert await far.wallet() == (0, 0)
    assert far.upstream.calls == []
    await assert_balanced(far.services.database)


class Raw:
    """One connection; what is sent is sent as it is."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> bool:
        """Whether the server still takes it."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except ConnectionError:
            return False
        return True

    async def answer(self) -> tuple[int, dict[bytes, bytes], bytes]:
        """The status, headers and body of the next response."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = head.rstrip().split(b"\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(b":") for line in lines)}
        length = int(headers.get(b"content-length", 0))
        return int(first.split(b" ")[1]), headers, await self.reader.readexactly(length)

    async def rest(self) -> bytes:
        """All that comes until the server closes."""
        try:
            return await self.reader.read()
        except ConnectionError:
            return b""


@asynccontextmanager
async def raw(far: Far, **options: Any) -> AsyncIterator[Raw]:
    """A connection to the platform, of no patience without end."""
    at = urlsplit(far.url)
    reader, writer = await asyncio.open_connection(at.hostname, at.port, **options)
    try:
        async with asyncio.timeout(60):
            yield Raw(reader, writer)
    finally:
        writer.transport.abort()


def head(far: Far, *lines: str, path: str = "/mcp", method: str = "POST") -> bytes:
    """The head of a request with alice's key and these lines."""
    usual = [
        f"{method} {path} HTTP/1.1",
        f"host: {urlsplit(far.url).netloc}",
        f"authorization: {far.world.alice.headers['authorization']}",
        "content-type: application/json",
        "accept: application/json, text/event-stream",
    ]
    return "\r\n".join([*usual, *lines, "", ""]).encode("latin-1")


def code_in(body: bytes) -> str | int:
    """The stable code of a refusal: of a problem document, a tool error or a JSON-RPC error."""
    said = orjson.loads(body)
    if "error" in said:
        return int(said["error"]["code"])
    if "result" in said:
        return str(said["result"]["structuredContent"]["code"])
    return str(said["code"])
