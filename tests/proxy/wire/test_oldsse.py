"""Servers of 2024-11-05: answers come by one stream, messages are posted to where it says."""

import asyncio
import json
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from app.kernel.errors import AppError, Code
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


async def test_a_stream_that_ended_is_opened_again(call: Call) -> None:
    async with playing(old := OldServer()) as server:
        target = server.target(transport="sse")
        await call(target)
        old.ends.set()
        old.ends = asyncio.Event()
        while len(old.streams) < 2:
            # One that is sent before the end is seen fails.
            with suppress(AppError):
                assert (await call(target)).body is not None
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


async def test_a_call_that_the_end_of_the_stream_cuts_off_is_not_sent_again(
    refused: Refused,
) -> None:
    class Ending(OldServer):
        calls = 0

        def answer(self, request: Seen) -> bytes | None:
            if request.json.get("method") == "tools/call":
                self.calls += 1
                self.ends.set()
                return None
            return super().answer(request)

    async with playing(old := Ending()) as server:
        error = await refused(server.target(transport="sse"))
        assert (error.code, old.calls) == (Code.TOOL_SERVER_DOWN, 1)


async def test_a_server_that_does_not_even_take_a_cancellation_keeps_nobody(
    refused: Refused,
) -> None:
    never = asyncio.Event()

    class Silent(OldServer):
        async def __call__(self, request: Seen, writer: asyncio.StreamWriter) -> None:
            if request.method == "POST" and b"notifications/cancelled" in request.body:
                await never.wait()
            await super().__call__(request, writer)

        def answer(self, request: Seen) -> bytes | None:
            is_call = request.json.get("method") == "tools/call"
            return None if is_call else super().answer(request)

    async with playing(old := Silent()) as server, asyncio.timeout(60):
        error = await refused(server.target(transport="sse"), timeout_s=0.2)
        assert error.code is Code.TOOL_TIMEOUT
        never.set()
        old.ends.set()


async def test_a_session_the_server_forgot_is_opened_again(call: Call) -> None:
    class Forgetful(OldServer):
        is_known = True

        async def __call__(self, request: Seen, writer: asyncio.StreamWriter) -> None:
            if request.method == "GET":
                self.is_known = True
            elif not self.is_known:
                respond(writer, b"gone", status="404 Not Found", kind="text/plain")
                return
            await super().__call__(request, writer)

    async with playing(old := Forgetful()) as server:
        target = server.target(transport="sse")
        await call(target)
        old.is_known = False
        assert (await call(target)).body is not None
        assert len(old.streams) == 2
        old.ends.set()


async def test_a_caller_who_is_slow_keeps_nobody_else_waiting(call: Call) -> None:
    """What is told of one call is taken in by who made it, not by who reads the stream."""
    notice = b'{"jsonrpc":"2.0","method":"notifications/x"}'
    is_told, may_go_on = asyncio.Event(), asyncio.Event()

    async def slow(_message: bytes) -> None:
        is_told.set()
        await may_go_on.wait()

    class Telling(OldServer):
        def answer(self, request: Seen) -> bytes | None:
            found = super().answer(request)
            if found is None or request.json["params"] != {"slow": 1}:
                return found
            return notice + b"\n\nevent: message\ndata: " + found

    async with playing(old := Telling()) as server:
        target = server.target(transport="sse")
        held = asyncio.create_task(call(target, b'{"slow":1}', on_message=slow))
        await is_told.wait()
        assert (await call(target)).body is not None
        may_go_on.set()
        assert (await held).body is not None
        old.ends.set()
