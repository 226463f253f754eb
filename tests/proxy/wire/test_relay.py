"""A server's own exchanges, carried through; those that last leave room for the others."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from app.kernel.errors import AppError, Code
from app.proxy.wire import HttpWire, Relay
from tests.proxy.wire.conftest import Call
from tests.proxy.wire.played import Seen, playing, respond, result_of

pytestmark = pytest.mark.anyio
START = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
LISTEN = {"Mcp-Method": "subscriptions/listen"}


async def lasting(request: Seen, writer: asyncio.StreamWriter) -> None:
    if request.method == "GET" or request.header("mcp-method") == LISTEN["Mcp-Method"]:
        writer.write(START)
    else:
        respond(writer, result_of(request, {"content": []}))


@pytest.mark.parametrize(
    ("method", "headers"),
    [pytest.param("GET", {}, id="GET"), pytest.param("POST", LISTEN, id="listen")],
)
async def test_calls_find_room_however_many_listen(
    wire: HttpWire,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    headers: dict[str, str],
) -> None:
    most = 300  # More than the calls a server is sent at once.
    monkeypatch.setattr("app.proxy.wire.connections._STREAMS_PER_SERVER", most)
    async with playing(lasting) as server, AsyncExitStack() as streams:
        target = server.target(era="modern")
        relay = Relay(wire.pool, target)
        for _ in range(most):
            await streams.enter_async_context(relay.open(method, headers))
        assert (await call(target)).body is not None
        with pytest.raises(AppError, match="too many streams") as refused:
            await streams.enter_async_context(relay.open(method, headers))
        assert refused.value.code is Code.TOOL_SERVER_DOWN
        await streams.aclose()
        async with relay.open(method, headers) as reply:
            assert reply.is_stream


async def test_what_is_scrubbed_of_an_event_is_its_id_too(wire: HttpWire) -> None:
    async def telling(_request: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(START + b"id: a secret\ndata: the secret\n\n")
        writer.close()

    async with playing(telling) as server, Relay(wire.pool, server.target()).open("GET", {}) as one:
        one.scrub = lambda raw: raw.replace(b"secret", b"***")
        told = [(event.id, event.data) async for event in one.events()]
    assert told == [(b"a ***", b"the ***")]
