"""Our end of HTTP/1.1 (RFC 9112), against servers that write what no web server would."""

import asyncio
import json
from collections.abc import Callable

import pytest

from app.kernel.errors import AppError, Code
from app.proxy.wire import Answer, HttpWire, Target
from tests.proxy.wire.conftest import Call, Refused
from tests.proxy.wire.played import Answering, Seen, modern, playing, respond, result, result_of

pytestmark = pytest.mark.anyio

DONE = {"content": [], "resultType": "complete"}


@pytest.fixture(scope="module", params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both loops: the product's own is uvloop."""
    return "asyncio", {"use_uvloop": request.param}


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def raw(make: Callable[[bytes], bytes], *, is_last: bool = False) -> Answering:
    """Answers with the bytes that `make` makes of the body; `is_last` hangs up afterwards."""

    async def answering(request: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(make(result_of(request, DONE)))
        if is_last:
            await writer.drain()
            writer.close()

    return answering


def chunked(body: bytes) -> bytes:
    parts = [body[at : at + 7] for at in range(0, len(body), 7)]
    return (
        b"".join(b"%x;a=b\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\nX: y\r\n\r\n"
    )


def sized(body: bytes, extra: bytes = b"") -> bytes:
    return OK + extra + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)


@pytest.mark.parametrize(
    ("answer", "connections"),
    [
        pytest.param(raw(sized), 1, id="length"),
        pytest.param(
            raw(lambda body: OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(body)),
            1,
            id="chunks",
        ),
        pytest.param(
            raw(lambda body: b"HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + sized(body)),
            1,
            id="interim",
        ),
        pytest.param(raw(lambda body: OK + b"\r\n" + body, is_last=True), 2, id="till the end"),
        pytest.param(raw(lambda body: sized(body, b"Connection: close\r\n")), 2, id="close"),
        pytest.param(
            raw(lambda body: sized(body).replace(b"HTTP/1.1", b"HTTP/1.0"), is_last=True),
            2,
            id="1.0",
        ),
    ],
)
async def test_a_response_of_any_framing_is_read_and_its_connection_used_again(
    call: Call, answer: Answering, connections: int
) -> None:
    async with playing(answer) as server:
        target = server.target(era="modern")
        for _ in range(2):
            assert json.loads((await call(target)).body or b"") == DONE
        assert (server.connections, len(server.seen)) == (connections, 2)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda _: b"SSH-2.0-OpenSSH_9.2\r\n", id="another protocol"),
        pytest.param(lambda _: OK + b"X: " + b"y" * 70_000, id="endless header"),
        pytest.param(lambda _: OK + b"X: y\r\n" * 20_000, id="many headers"),
        pytest.param(lambda body: sized(body)[:-5], id="short body"),
        pytest.param(lambda _: OK + b"Content-Length: -1\r\n\r\n", id="negative length"),
        pytest.param(lambda body: sized(body, b"Content-Length: 3\r\n"), id="two lengths"),
        pytest.param(
            lambda body: sized(body, b"Transfer-Encoding: chunked\r\n"), id="length and chunks"
        ),
        pytest.param(
            lambda _: OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", id="size that is none"
        ),
        pytest.param(
            lambda _: b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            id="upgrade",
        ),
    ],
)
async def test_what_is_no_response_is_the_servers_fault(
    refused: Refused, make: Callable[[bytes], bytes]
) -> None:
    async with playing(raw(make, is_last=True)) as server:
        error = await refused(server.target(era="modern"))
        assert error.code is Code.TOOL_SERVER_DOWN
        assert "broke off its answer" in error.message
        assert len(server.seen) == 1


@pytest.mark.parametrize("extra", [b"HTTP/1.1 200 OK\r\n\r\n", b"more", b"\r\n"])
async def test_what_follows_a_response_is_never_taken_for_the_next(
    call: Call, extra: bytes
) -> None:
    async def answering(request: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(sized(result_of(request, {**DONE, "number": len(server.seen)})) + extra)

    async with playing(answering) as server:
        target = server.target(era="modern")
        for number in (1, 2):
            assert json.loads((await call(target)).body or b"")["number"] == number


async def test_a_server_that_speaks_while_it_should_not_loses_its_connection(call: Call) -> None:
    async with playing(modern(result(DONE))) as server:
        target = server.target(era="modern")
        await call(target)
        (writer,) = server.writers
        writer.write(b"HTTP/1.1 408 Too Late\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        # The client's end closes once it has read that.
        await writer.wait_closed()
        assert (await call(target)).body is not None
    assert server.connections == 2


async def test_a_large_body_waits_in_the_server_and_not_here(call: Call, wire: HttpWire) -> None:
    """The reader pauses: what is not read is not kept without bound."""
    size = 20 * 2**20

    async def answering(_request: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n" % size)
        for _ in range(size // 2**20):
            writer.write(b"x" * 2**20)
            await writer.drain()

    async with playing(answering) as server:
        target = server.target(output_limit=size)
        async with wire.pool.send(target, "GET", {}) as response:
            (connection,) = wire.pool.connections.open
            while not connection.is_paused:
                await asyncio.sleep(0)
            assert connection.buffered < 2 * 2**20
            seen = 0
            while part := await response.chunk():
                seen += len(part)
        assert seen == size


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\rb", "a\0b"])
async def test_a_header_cannot_bring_another_one(refused: Refused, value: str) -> None:
    async with playing(modern(result(DONE))) as server:
        error = await refused(server.target(era="modern"), headers={"X-Key": value})
        assert error.code is Code.TOOL_SERVER_DOWN
        assert server.seen == []


async def test_no_more_connections_are_open_than_calls_at_once(call: Call, wire: HttpWire) -> None:
    async with playing(modern(result(DONE))) as server:
        target = server.target(era="modern")
        calls: list[Answer] = await asyncio.gather(*(call(target) for _ in range(20)))
        assert len(calls) == 20
        assert server.connections <= 20
        for _ in range(50):
            await call(target)
        assert server.connections <= 20
    await wire.close()
    assert not wire.pool.connections.open


async def test_a_call_that_is_given_up_closes_its_connection(call: Call, wire: HttpWire) -> None:
    came = asyncio.Event()

    async def silent(_request: Seen, _writer: asyncio.StreamWriter) -> None:
        came.set()
        await asyncio.Event().wait()

    async with playing(silent) as server:
        task = asyncio.create_task(call(server.target(era="modern")))
        await came.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not wire.pool.connections.open


async def test_a_server_that_answers_before_it_has_read_all_is_heard(refused: Refused) -> None:
    async def hasty(_request: Seen, writer: asyncio.StreamWriter) -> None:
        respond(writer, b"too much", status="413 Too Large", kind="text/plain", extra="")

    async with playing(hasty) as server:
        params = b'{"name":"echo","x":"%b"}' % (b"y" * 5_000_000)
        error: AppError = await refused(server.target(era="modern"), params=params)
        assert "HTTP 413" in error.message


async def test_a_connection_is_not_used_again_before_the_request_has_left(
    refused: Refused, wire: HttpWire
) -> None:
    """What is left of it could be taken for a request of whoever comes next."""
    may_read = asyncio.Event()

    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        respond(writer, b"too much", status="413 Too Large", kind="text/plain")
        await may_read.wait()
        writer.close()

    server = await asyncio.start_server(deaf, "127.0.0.1", 0, limit=2**10)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"
    target = Target("far", url, era="modern", allow_private=True)
    try:
        error = await refused(target, params=b'{"name":"echo","x":"%b"}' % (b"y" * 20_000_000))
        assert "HTTP 413" in error.message
        assert not wire.pool.connections.open
    finally:
        may_read.set()
        server.close()


@pytest.mark.parametrize("body", [b"", b"2\r\n{}\r\n"])
async def test_trailers_have_a_limit(wire: HttpWire, body: bytes) -> None:
    async def endless(_request: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"Transfer-Encoding: chunked\r\n\r\n" + body + b"0\r\n")
        while not writer.is_closing():
            writer.write(b"X-More: " + b"y" * 1000 + b"\r\n")
            await writer.drain()

    async with playing(endless) as server:
        target = server.target()

        async def read() -> None:
            async with wire.pool.send(target, "GET", {}) as response:
                while await response.chunk():
                    pass

        with pytest.raises(AppError, match="headers are too large"):
            await read()
        assert not wire.pool.connections.open


async def test_what_stands_after_a_body_is_no_header(wire: HttpWire) -> None:
    async def answering(_request: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\nMcp-Session-Id: s\r\n\r\n")

    async with playing(answering) as server, wire.pool.send(server.target(), "GET", {}) as response:
        assert await response.chunk() == b""
        assert "mcp-session-id" not in response.headers


async def test_a_connection_whose_answer_was_left_unread_does_not_hold_up_the_next(
    wire: HttpWire,
) -> None:
    async def answering(_request: Seen, writer: asyncio.StreamWriter) -> None:
        # Only its last byte passes what is kept before reading pauses.
        respond(writer, b"x" * (256 * 2**10 + 1))

    async with playing(answering) as server:
        target = server.target()
        async with wire.pool.send(target, "GET", {}):
            (connection,) = wire.pool.connections.open
            while not connection.is_paused:
                await asyncio.sleep(0)
        async with wire.pool.send(target, "GET", {}) as response:
            assert await response.chunk()
        assert server.connections == 2
