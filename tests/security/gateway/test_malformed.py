"""What is no message, to every door of both eras: one clear refusal, and nothing happens."""

import orjson
import pytest
from websockets.exceptions import ConnectionClosedError

from tests.security.gateway.conftest import code_in, free, head, raw
from tests.surfaces.fastpath.conftest import META, Far, message
from tests.surfaces.fastpath.test_sessions import sitting
from tests.surfaces.mcp_doors.clients import by_sse, modern, raw_socket

pytestmark = pytest.mark.anyio
CALL = {"name": "far.echo", "arguments": {"text": "hi"}}
PLAIN = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": CALL}
DEEP = b"[" * 100_000
# The SDK takes them for notifications where it does not look at ids: nothing is called.
UNANSWERED = {"an id that is a list", "an id that is true", "an id that is null"}

# JSON-RPC 2.0, section 5.1: -32700 for what is no JSON, -32600 for what is no request.
NO_MESSAGE: dict[str, tuple[bytes, set[int]]] = {
    "nothing": (b"", {-32700}),
    "white space": (b" \n\t", {-32700}),
    "half of it": (b'{"jsonrpc":"2.0","id":1,', {-32700}),
    "not utf-8": (b'{"jsonrpc":"2.0","id":1,"method":"\xff"}', {-32700}),
    "a byte order mark": (b'\xef\xbb\xbf{"id":1}', {-32600, -32700}),
    "utf-16": ('{"id":1}'.encode("utf-16"), {-32600, -32700}),
    "two messages": (orjson.dumps(PLAIN) * 2, {-32700}),
    "single quotes": (b"{'jsonrpc':'2.0'}", {-32700}),
    "a comment": (b'/* */{"jsonrpc":"2.0"}', {-32700}),
    "null": (b"null", {-32600}),
    "a text": (b'"tools/call"', {-32600}),
    "a number": (b"1e999", {-32600, -32700}),
    "no batch": (b"[]", {-32600}),
    "a batch": (orjson.dumps([PLAIN, PLAIN]), {-32600}),
    "deep": (DEEP, {-32600, -32700}),
    "deep and whole": (b'{"a":' * 9_000 + b"1" + b"}" * 9_000, {-32600, -32700}),
    "no method": (b'{"jsonrpc":"2.0","id":1}', {-32600}),
    "another json-rpc": (orjson.dumps(PLAIN | {"jsonrpc": "1.0"}), {-32600}),
    "no json-rpc": (b'{"id":1,"method":"tools/call"}', {-32600}),
    "a method that is none": (orjson.dumps(PLAIN | {"method": ["tools/call"]}), {-32600}),
    "an id that is a list": (orjson.dumps(PLAIN | {"id": [1]}), {-32600}),
    "an id that is true": (orjson.dumps(PLAIN | {"id": True}), {-32600}),
    "an id that is null": (orjson.dumps(PLAIN | {"id": None}), {-32600}),
    "params that are text": (orjson.dumps(PLAIN | {"params": "x"}), {-32600, -32602}),
}


async def test_by_requests_of_the_new_era(far: Far) -> None:
    for name, (body, codes) in NO_MESSAGE.items():
        answer = await far.post(body[: 63 * 1024], name="far.echo")
        assert answer.status_code == 400, (name, answer.status_code, answer.text)
        assert code_in(answer.content) in codes, (name, answer.text)
    await free(far)


@pytest.mark.parametrize("version", ["2025-11-25", "2024-11-05"])
async def test_by_sessions(far: Far, version: str) -> None:
    async with sitting(far, version) as session:
        for name, (body, codes) in NO_MESSAGE.items():
            answer = await session.send(body[: 63 * 1024])
            if name in UNANSWERED and answer.status_code == 202:
                continue
            assert answer.status_code == 400, (name, answer.status_code, answer.text)
            assert code_in(answer.content) in codes | {-32602}, (name, answer.text)
        await free(far)
        # The session is none the worse for it.
        assert (await session.send(PLAIN)).status_code == 200


def _is_text(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


async def test_over_a_websocket(far: Far) -> None:
    async with raw_socket(far.url, far.world.alice.headers) as socket:
        for name, (body, codes) in NO_MESSAGE.items():
            if not _is_text(body):
                continue
            await socket.send(body[: 63 * 1024].decode())
            said = orjson.loads(await socket.recv())
            assert said["error"]["code"] in codes | {-32600}, (name, said)
        await free(far)
        await socket.send(orjson.dumps(modern(7, "tools/call", **CALL)).decode())
        assert orjson.loads(await socket.recv())["id"] == 7
        # A text that is no UTF-8 ends the socket (RFC 6455, section 8.1).
        await socket.send(b"\xff", text=True)
        with pytest.raises(ConnectionClosedError) as caught:
            await socket.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1007


async def test_by_the_post_of_an_old_stream(far: Far) -> None:
    async with by_sse(far.url, far.world.alice.headers) as client:
        posts = [(body[: 63 * 1024], name) for name, (body, _) in NO_MESSAGE.items()]
        async with raw(far) as other:
            await other.send(head(far, path="/sse", method="GET"))
            opened = await other.reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in opened
            event = await other.reader.readuntil(b"\r\n\r\n")
            path = event.partition(b"data: ")[2].split(b"\r\n")[0].decode()
            for body, name in posts:
                answer = await far.http.post(
                    far.url + path,
                    content=body,
                    headers={**far.world.alice.headers, "content-type": "application/json"},
                )
                if name in UNANSWERED and answer.status_code == 202:
                    continue
                assert answer.status_code == 400, (name, answer.status_code, answer.text)
                assert code_in(answer.content) == "invalid_input", (name, answer.text)
        await free(far)
        assert (await client.list_tools()).tools


UNKNOWN = ["2099-01-01", "2026-07-29", "2024-11-04", "1.0", "latest", "", "2026-07-28,2025-06-18",
           "x" * 4000, "2026\u00ad07\u00ad28"]  # fmt: skip


async def test_unknown_versions(far: Far) -> None:
    for version in UNKNOWN:
        await _unknown(far, version)
    await free(far)


async def _unknown(far: Far, version: str) -> None:
    meta = META | {"io.modelcontextprotocol/protocolVersion": version}
    body = orjson.dumps(message(_meta=meta))
    given = [f"mcp-protocol-version: {version}"] if version else []
    lines = [*given, "mcp-method: tools/call", "mcp-name: far.echo", f"content-length: {len(body)}"]
    async with raw(far) as line:
        await line.send(head(far, *lines) + body)
        status, _, said = await line.answer()
    assert status == 400, said
    assert code_in(said) in {-32022, -32020, -32602, -32600}, (version, said)


async def test_a_handshake_of_an_unknown_version_is_offered_a_known_one(far: Far) -> None:
    async with sitting(far, "2025-06-18") as session:
        hello = {"protocolVersion": "2099-01-01", "capabilities": {}}
        hello["clientInfo"] = {"name": "t", "version": "1"}  # type: ignore[assignment]
        session.headers.clear()
        body = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}
        answer = await session.send(body)
        shown = answer.text.partition("data: ")[2] or answer.text
        assert orjson.loads(shown)["result"]["protocolVersion"] == "2025-11-25"


LOOKALIKES = ["f\u0430r.echo", "far.ech\u043e", "\uff46ar.echo", "far\u2024echo", "far.echo\u200b",
              "far.\u202eohce", "FAR.ECHO", "far.echo ", " far.echo", "far..echo", "far/echo",
              "far.echo\x00", "fa\u0300r.echo", "far.\U000e0065cho", "x" * 60_000]  # fmt: skip


async def test_names_that_look_like_a_tools(far: Far) -> None:
    """Nobody is called who was not named: no folding, trimming or guessing of names."""
    async with sitting(far) as session, raw_socket(far.url, far.world.alice.headers) as socket:
        for number, name in enumerate(LOOKALIKES):
            params = CALL | {"name": name}
            answer = await session.send(PLAIN | {"params": params})
            shown = orjson.loads(answer.text.partition("data: ")[2] or answer.text)
            assert shown["error"]["code"] == -32602, (name, shown)
            await socket.send(orjson.dumps(modern(number, "tools/call", **params)).decode())
            assert orjson.loads(await socket.recv())["error"]["code"] == -32602, name
    await free(far)
