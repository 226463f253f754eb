"""Servers on loopback that answer as a test says, byte for byte; they keep what they were sent."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from app.proxy.wire import Target


@dataclass
class Seen:
    """One request as it came in."""

    method: str
    path: str
    headers: list[tuple[str, str]]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key == name.lower()]
        assert len(found) < 2, f"{name} came twice"
        return found[0] if found else None


Answering = Callable[[Seen, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Played:
    """A server; `answer` writes the response to a request."""

    answer: Answering
    seen: list[Seen] = field(default_factory=list)
    connections: int = 0
    port: int = 0
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    def target(self, **keys: Any) -> Target:
        given: dict[str, Any] = {"name": "far", "url": self.url, "allow_private": True}
        return Target(**(given | keys))

    @property
    def calls(self) -> list[Seen]:
        """The requests but for the question which era it is."""
        return [one for one in self.seen if b"server/discover" not in one.body]


async def read_request(reader: asyncio.StreamReader) -> Seen | None:
    """The next request; None if the client leaves before all of it has come."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.rstrip().split("\r\n")
        headers = [tuple(line.split(": ", 1)) for line in lines]
        named = [(name.lower(), value) for name, value in headers]
        body = await reader.readexactly(int(dict(named).get("content-length", 0)))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None
    method, path, _ = first.split(" ")
    return Seen(method, path, named, body)


@asynccontextmanager
async def playing(answer: Answering) -> AsyncIterator[Played]:
    played = Played(answer)
    writers = played.writers

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        played.connections += 1
        writers.add(writer)
        try:
            while (request := await read_request(reader)) is not None:
                played.seen.append(request)
                await played.answer(request, writer)
                if writer.is_closing():
                    return
                await writer.drain()
        except ConnectionError:
            return
        finally:
            writers.discard(writer)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    played.port = server.sockets[0].getsockname()[1]
    try:
        yield played
    finally:
        server.close()
        for writer in list(writers):
            writer.close()
        await server.wait_closed()


def respond(
    writer: asyncio.StreamWriter,
    body: bytes,
    *,
    status: str = "200 OK",
    kind: str = "application/json",
    extra: str = "",
) -> None:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{extra}\r\n"
    )
    writer.write(head.encode() + body)


def result_of(request: Seen, result: Any, **more: Any) -> bytes:
    message = {"jsonrpc": "2.0", "id": request.json.get("id"), "result": result}
    return json.dumps(message | more).encode()


DISCOVERED = {
    "supportedVersions": ["2026-07-28"],
    "capabilities": {"tools": {}},
    "resultType": "complete",
}


def modern(answer: Answering) -> Answering:
    """A server of 2026-07-28 that answers all but discovery as `answer` does."""

    async def answering(request: Seen, writer: asyncio.StreamWriter) -> None:
        if b"server/discover" in request.body:
            respond(writer, result_of(request, DISCOVERED))
        else:
            await answer(request, writer)

    return answering


def body(raw: bytes, **keys: Any) -> Answering:
    """Answers with these bytes."""

    async def answering(_request: Seen, writer: asyncio.StreamWriter) -> None:
        respond(writer, raw, **keys)

    return answering


def result(value: Any) -> Answering:
    """Answers every request with this result."""

    async def answering(request: Seen, writer: asyncio.StreamWriter) -> None:
        respond(writer, result_of(request, value))

    return answering


def stream(*chunks: bytes | Callable[[Seen], bytes]) -> Answering:
    """Answers with a stream of these chunks."""

    async def answering(request: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
        )
        for chunk in chunks:
            writer.write(chunk if isinstance(chunk, bytes) else chunk(request))
            await writer.drain()
        writer.close()

    return answering


def event(data: bytes) -> bytes:
    return b"event: message\ndata: " + data + b"\n\n"
