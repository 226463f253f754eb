"""A real HTTP server on the loopback that a test lets misbehave, and checks of its own."""

import asyncio
import base64
import hashlib
import json
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Got:
    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def message(self) -> dict[str, Any]:
        return dict(json.loads(self.body))

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


def _plain(status: str, headers: str = "", body: bytes = b"") -> bytes:
    return f"HTTP/1.1 {status}\r\n{headers}content-length: {len(body)}\r\n\r\n".encode() + body


ANSWERS = {
    "ok": _plain("200 OK", body=b"thanks"),
    "empty": _plain("204 No Content"),
    "error": _plain("500 Internal Server Error", body=b"no"),
    "denied": _plain("401 Unauthorized"),
    "gone": _plain("410 Gone"),
    "redirect": _plain("302 Found", "location: /elsewhere\r\n"),
    "cookie": _plain("200 OK", "set-cookie: a=b; path=/\r\n"),
    "garbage": b"this is not HTTP\r\n\r\n",
    "cut": b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort",
    "bomb": b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\nnope",
}


@dataclass
class Receiver:
    """Answers as `script` says, then as `usual` says."""

    url: str = ""
    usual: str = "ok"
    script: deque[str] = field(default_factory=deque)
    got: list[Got] = field(default_factory=list)
    sent: int = 0
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while (got := await _read(reader)) is not None:
                self.got.append(got)
                answer = self.script.popleft() if self.script else self.usual
                if not await self._answer(answer, writer):
                    break
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, answer: str, writer: asyncio.StreamWriter) -> bool:
        self.reached.set()
        match answer:
            case "hang":
                await self.released.wait()
                answer = "error"
            case "reset":
                writer.transport.abort()
                return False
            case "huge":
                await self._flood(writer)
                return False
        writer.write(ANSWERS[answer])
        await writer.drain()
        return answer not in {"garbage", "cut"}

    async def _flood(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        while self.sent < 2**30:
            writer.write(chunk)
            await writer.drain()
            self.sent += len(chunk)


async def _read(reader: asyncio.StreamReader) -> Got | None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *lines = head.strip().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    exact = {line.split(": ", 1)[0].lower(): line.split(": ", 1)[1] for line in lines}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Got(first.split(" ")[1], exact, body)


@asynccontextmanager
async def receiving(usual: str = "ok") -> AsyncIterator[Receiver]:
    """A receiver on a port of its own."""
    receiver = Receiver(usual=usual)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    try:
        yield receiver
    finally:
        receiver.released.set()
        server.close()


def signature_of(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    """The signature by the text of RFC 2104, without the library that the product uses."""
    key = base64.b64decode(secret.removeprefix("whsec_")).ljust(64, b"\0")
    inner = bytes(byte ^ 0x36 for byte in key) + f"{message_id}.{timestamp}.".encode() + body
    outer = bytes(byte ^ 0x5C for byte in key) + hashlib.sha256(inner).digest()
    return base64.b64encode(hashlib.sha256(outer).digest()).decode()


def is_signed_by(secret: str, got: Got) -> bool:
    """Whether one of a message's signatures is by that secret."""
    wanted = signature_of(secret, got.id, got.headers["webhook-timestamp"], got.body)
    return f"v1,{wanted}" in got.headers["webhook-signature"].split(" ")
