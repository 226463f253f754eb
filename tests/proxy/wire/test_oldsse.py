"""Servers of 2024-11-05: answers come by one stream, messages are posted to where it says."""

import asyncio
import json
from dataclasses import dataclass, field

import pytest

from app.kernel.errors import Code
from app.proxy.wire import HttpWire
from tests.proxy.wire.conftest import Call, Refused
from tests.proxy.wire.played import Seen, playing, respond, result_of
from tests.proxy.wire.test_legacy import HELLO

pytestmark = pytest.mark.anyio
START = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


@dataclass
class OldServer:
    """A server whose streams stay open; `endpoint` is where it wants messages posted."""

    endpoint: str = "/messages?session=1"
    streams: list[asyncio.StreamWriter] = field(default_factory=list)
    ends: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, request: Seen, writer: asyncio.StreamWriter) -> None:
        if request.method == "GET":
            self.streams.append(writer)
            writer.write(START + b"event: endpoint\ndata: " + self.endpoint.encode() + b"\n\n")
            await writer.drain()
            await self.ends.wait()
            writer.close()
            return
        respond(writer, b"Accepted", status="202 Accepted", kind="text/plain")
        if (answer := self.answer(request)) is not None:
            self.streams[-1].write(b"event: message\ndata: " + answer + b"\n\n")
            await self.streams[-1].drain()

    def answer(self, request: Seen) -> bytes | None:
        match request.json.get("method"):
            case "initialize":
                return result_of(request, HELLO | {"protocolVersion": "2024-11-05"})
            case "tools/call":
                return result_of(request, {"content": [], "echo": request.json["params"]})
            case _:
                return None


async def test_calls_go_by_post_and_answers_come_by_the_stream(call: Call) -> None:
    async with playing(old := OldServer()) as server:
        target = server.target(transport="sse", headers={"X-Ours": "1"})
        answers = await asyncio.gather(
            *(call(target, b'{"n":%d}' % n, headers={"X-Key": "k"}) for n in range(5))
        )
        assert [json.loads(one.body or b"")["echo"] for one in answers] == [
            {"n": n} for n in range(5)
        ]
        assert len(old.streams) == 1
        assert {one.path for one in server.seen[1:]} == {"/messages?session=1"}
        assert {one.header("x-key") for one in server.seen} == {"k"}
        assert {one.header("x-ours") for one in server.seen} == {"1"}
        old.ends.set()


@pytest.mark.parametrize(
    "endpoint", ["https://evil.example/messages", "//evil.example/x", "http://127.0.0.1:1/x"]
)
async def test_credentials_go_to_no_other_origin(refused: Refused, endpoint: str) -> None:
    async with playing(old := OldServer(endpoint)) as server:
        error = await refused(server.target(transport="sse"), headers={"X-Key": "k"})
        assert (error.code, "origin" in error.message) == (Code.TOOL_PROTOCOL_ERROR, True)
        assert len(server.seen) == 1
        old.ends.set()


async def test_a_stream_that_ended_is_opened_again(wire: HttpWire, call: Call) -> None:
    async with playing(old := OldServer()) as server:
        target = server.target(transport="sse")
        await call(target)
        old.ends.set()
        (kept,) = wire.sessions._kept.values()
        session = await kept.opening
        await session._task  # type: ignore[attr-defined]
        old.ends = asyncio.Event()
        assert (await call(target)).body is not None
        assert len(old.streams) == 2
        old.ends.set()


async def test_a_stream_that_floods_is_cut_off(refused: Refused) -> None:
    class Flooding(OldServer):
        def answer(self, request: Seen) -> bytes | None:
            if request.json.get("method") == "tools/call":
                notice = b'{"jsonrpc":"2.0","method":"notifications/x"}'
                return (notice + b"\n\nevent: message\ndata: ") * 200 + notice
            return super().answer(request)

    async with playing(old := Flooding()) as server:
        error = await refused(server.target(transport="sse", output_limit=2000))
        assert error.code is Code.TOOL_OUTPUT_TOO_LARGE
        old.ends.set()
