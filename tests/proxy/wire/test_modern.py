"""Servers of 2026-07-28: what is sent to them, and what is made of what they answer."""

import asyncio
import gzip
import json
from typing import Any

import pytest

from app.kernel.errors import Code
from app.proxy.credentials import UpstreamRefusedError
from app.proxy.wire import HttpWire
from tests.proxy.wire.conftest import Call, Refused
from tests.proxy.wire.played import (
    Answering,
    Seen,
    body,
    event,
    modern,
    playing,
    respond,
    result,
    result_of,
    stream,
)

pytestmark = pytest.mark.anyio
DONE: dict[str, Any] = {"content": [], "resultType": "complete", "x-unknown": {"kept": 1.0}}


def answered(request: Seen) -> bytes:
    return event(result_of(request, DONE))


async def test_a_call_is_one_post_whose_headers_repeat_the_body(call: Call) -> None:
    async with playing(modern(result(DONE))) as server:
        target = server.target(headers={"Authorization": "Bearer ours"})
        sent = {"Mcp-Param-Region": "eu", "X-Key": "secret"}
        answer = await call(target, b'{"name":"echo","arguments":{"n":1}}', headers=sent)
    (seen,) = server.calls
    assert json.loads(answer.body or b"") == DONE
    assert (answer.status, answer.error) == (200, None)
    assert seen.json["method"] == seen.header("mcp-method") == "tools/call"
    assert seen.json["params"]["name"] == seen.header("mcp-name") == "echo"
    meta = seen.json["params"]["_meta"]
    version = meta["io.modelcontextprotocol/protocolVersion"]
    assert version == seen.header("mcp-protocol-version") == "2026-07-28"
    assert seen.header("authorization") == "Bearer ours"
    assert (seen.header("mcp-param-region"), seen.header("x-key")) == ("eu", "secret")
    assert (seen.header("cookie"), seen.header("mcp-session-id")) == (None, None)
    assert seen.header("accept-encoding") == "identity"


async def test_the_era_is_asked_once_and_connections_are_kept(call: Call) -> None:
    async with playing(modern(result(DONE))) as server:
        target = server.target()
        await asyncio.gather(*(call(target) for _ in range(5)))
        for _ in range(5):
            await call(target)
    assert len(server.seen) - len(server.calls) == 1
    assert server.connections <= 6


async def test_unknown_keys_come_through_byte_for_byte(call: Call) -> None:
    raw = b'{"b": 1.50, "a":"\\u00e9", "resultType": "task", "big": 123456789012345678901234567890}'

    async def answering(request: Seen, writer: asyncio.StreamWriter) -> None:
        respond(writer, b'{"jsonrpc":"2.0","result":%b,"id":%d}' % (raw, request.json["id"]))

    async with playing(modern(answering)) as server:
        assert (await call(server.target())).body == raw


async def test_messages_before_the_answer_are_handed_out(call: Call) -> None:
    seen: list[bytes] = []
    progress = b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":1}}'

    async def on_message(message: bytes) -> None:
        seen.append(message)

    async with playing(modern(stream(b": ping\n\n", event(progress), answered))) as server:
        answer = await call(server.target(), on_message=on_message)
    assert (json.loads(answer.body or b""), seen) == (DONE, [progress])


async def test_an_error_of_the_server_is_an_answer(call: Call) -> None:
    for status in ("200 OK", "400 Bad Request", "404 Not Found"):

        async def answering(
            request: Seen, writer: asyncio.StreamWriter, status: str = status
        ) -> None:
            error = {"code": -32602, "message": "no", "data": {"x": 1}}
            message = {"jsonrpc": "2.0", "id": request.json["id"], "error": error}
            respond(writer, json.dumps(message).encode(), status=status)

        async with playing(modern(answering)) as server:
            answer = await call(server.target())
        assert (answer.status, answer.body) == (int(status[:3]), None)
        assert json.loads(answer.error or b"")["data"] == {"x": 1}


DEEP = b'{"jsonrpc":"2.0","id":1,"result":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
NESTED = body(DEEP)
BOMB = gzip.compress(b"x" * 10_000_000)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (body(b'{"jsonrpc":"2.0","id":999999,"result":{}}'), Code.TOOL_PROTOCOL_ERROR),
        (body(b'{"jsonrpc":"2.0","id":"1","result":{}}'), Code.TOOL_PROTOCOL_ERROR),
        (body(b'{"jsonrpc":"2.0","result":{}}'), Code.TOOL_PROTOCOL_ERROR),
        (body(b"<html>"), Code.TOOL_PROTOCOL_ERROR),
        (body(b""), Code.TOOL_PROTOCOL_ERROR),
        (body(b"[]"), Code.TOOL_PROTOCOL_ERROR),
        (body(b"<html>", kind="text/html"), Code.TOOL_PROTOCOL_ERROR),
        (body(b"", status="202 Accepted"), Code.TOOL_PROTOCOL_ERROR),
        (NESTED, Code.TOOL_PROTOCOL_ERROR),
        (body(BOMB, extra="Content-Encoding: gzip\r\n"), Code.TOOL_PROTOCOL_ERROR),
        (body(b"x" * 3000), Code.TOOL_OUTPUT_TOO_LARGE),
        (body(b"", status="302 Found", extra="Location: /x\r\n"), Code.TOOL_SERVER_DOWN),
        (body(b"no", status="503 Busy", kind="text/plain"), Code.TOOL_SERVER_DOWN),
        (body(b"no", status="418 Teapot", kind="text/plain"), Code.TOOL_SERVER_DOWN),
        (stream(b""), Code.TOOL_SERVER_DOWN),
        (stream(event(b'{"jsonrpc":"2.0","id":999999,"result":{}}')), Code.TOOL_PROTOCOL_ERROR),
        (stream(event(b"nonsense")), Code.TOOL_PROTOCOL_ERROR),
        (stream(b"data: " + b"x" * 3000), Code.TOOL_OUTPUT_TOO_LARGE),
        (stream(*[event(b'{"method":"notifications/x"}')] * 200), Code.TOOL_OUTPUT_TOO_LARGE),
    ],
)
async def test_a_server_that_misbehaves_harms_its_own_call_only(
    call: Call, refused: Refused, answer: Answering, code: Code
) -> None:
    async with playing(modern(answer)) as server:
        target = server.target(output_limit=300_000 if answer is NESTED else 2000)
        assert (await refused(target)).code is code
        assert len(server.calls) == 1
        server.answer = modern(result(DONE))
        assert (await call(target)).body is not None


async def test_a_result_that_is_no_object_or_comes_with_an_error_is_refused(
    refused: Refused,
) -> None:
    for more in ({"result": [1]}, {"result": {}, "error": {"code": 1, "message": ""}}):

        async def answering(
            request: Seen, writer: asyncio.StreamWriter, more: dict[str, Any] = more
        ) -> None:
            message = {"jsonrpc": "2.0", "id": request.json["id"]} | more
            respond(writer, json.dumps(message).encode())

        async with playing(modern(answering)) as server:
            assert (await refused(server.target())).code is Code.TOOL_PROTOCOL_ERROR


async def test_what_comes_after_the_answer_is_not_read(call: Call) -> None:
    async with playing(modern(stream(answered, answered, b"data: " + b"x" * 9000))) as server:
        assert (await call(server.target(output_limit=2000))).body is not None


async def test_a_body_that_comes_drop_by_drop_ends_with_the_time_given(refused: Refused) -> None:
    async def dripping(_request: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n")
        writer.write(b"Content-Length: 100\r\n\r\n{")
        await writer.drain()
        await asyncio.Event().wait()

    async with playing(modern(dripping)) as server:
        error = await refused(server.target(), timeout_s=0.2)
    assert error.code is Code.TOOL_TIMEOUT


async def test_a_refusal_of_credentials_tells_what_was_asked_for(refused: Refused) -> None:
    challenge = 'Bearer scope="files"'
    extra = f"WWW-Authenticate: {challenge}\r\n"
    async with playing(modern(body(b"", status="401 No", extra=extra))) as server:
        error = await refused(server.target())
    assert isinstance(error, UpstreamRefusedError)
    assert (error.http_status, error.www_authenticate) == (401, challenge)


async def test_a_connection_that_closes_during_a_call_is_not_tried_again(
    refused: Refused,
) -> None:
    async def closing(_request: Seen, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with playing(modern(closing)) as server:
        assert (await refused(server.target())).code is Code.TOOL_SERVER_DOWN
        assert len(server.calls) == 1
        assert (await refused(server.target(), method="prompts/get")).code is Code.TOOL_SERVER_DOWN
        # What changes nothing at the server may be asked for again.
        assert len(server.calls) == 3


async def test_a_kept_connection_that_the_server_closed_is_replaced(
    wire: HttpWire, call: Call
) -> None:
    """The race of keep-alive: the server closes an idle connection as the next call begins."""
    async with playing(modern(result(DONE))) as server:
        target = server.target()
        await call(target)
        (kept,) = wire.pool.connections.open
        kept.close()
        assert (await call(target)).body is not None
        assert len(server.calls) == 2
    assert server.connections == 2
