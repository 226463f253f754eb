"""Plain HTTP: one exact request goes upstream, whatever else the client sends."""

import asyncio
from dataclasses import dataclass, field

import pytest

from tests.sandbox.egress.conftest import HOST, OpenDoor, Outside, Way

pytestmark = pytest.mark.anyio
ANSWER = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nACGT"


@dataclass
class Web:
    """A server that keeps what it gets, and answers once the end of a request was seen."""

    until: bytes = b"\r\n\r\n"
    seen: list[bytes] = field(default_factory=list)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = b""
        self.seen.append(data)
        while not data.endswith(self.until):
            part = await reader.read(2**16)
            if not part:
                return
            data += part
            self.seen[-1] = data
        writer.write(ANSWER)
        await writer.drain()


async def open_way(
    outside: Outside, open_door: OpenDoor, web: Web, **caps: float
) -> tuple[Way, int]:
    port = await outside.serve(web)
    return await open_door(port, plain_ports=frozenset({port}), **caps), port


def head(port: int, more: str = "", method: str = "GET") -> str:
    return f"{method} http://{HOST}:{port}/seq?id=1 HTTP/1.1\r\nHost: {HOST}:{port}\r\n{more}\r\n"


def sent(port: int, more: str = "", method: str = "GET") -> bytes:
    return (
        f"{method} /seq?id=1 HTTP/1.1\r\nHost: {HOST}:{port}\r\nConnection: close\r\n{more}\r\n"
    ).encode()


async def test_a_page(outside: Outside, open_door: OpenDoor) -> None:
    web = Web()
    way, port = await open_way(outside, open_door, web)
    answer = await way.ask(head(port, "Accept: */*\r\nProxy-Connection: keep-alive\r\n"))
    assert (answer.status, answer.body) == (200, b"ACGT")
    assert web.seen == [sent(port, "Accept: */*\r\n")]
    (call,) = await way.ended()
    assert (call.host, call.port, call.verdict, call.reason) == (HOST, port, "allowed", "")
    assert (call.bytes_up, call.bytes_down) == (len(web.seen[0]), len(ANSWER))


@pytest.mark.parametrize(
    ("field_line", "body"),
    [
        ("Content-Length: 4\r\n", "ACGT"),
        ("Transfer-Encoding: chunked\r\n", "4\r\nACGT\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "1\r\nA\r\n3\r\nCGT\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "0\r\n\r\n"),
    ],
)
async def test_a_body(field_line: str, body: str, outside: Outside, open_door: OpenDoor) -> None:
    web = Web(until=body.encode())
    way, port = await open_way(outside, open_door, web)
    answer = await way.ask(head(port, field_line, "POST") + body)
    assert (answer.status, answer.body) == (200, b"ACGT")
    assert web.seen == [sent(port, field_line, "POST") + body.encode()]


async def test_a_large_body_in_chunks(outside: Outside, open_door: OpenDoor) -> None:
    web = Web(until=b"0\r\n\r\n")
    way, port = await open_way(outside, open_door, web)
    body = b"100000\r\n" + b"A" * 2**20 + b"\r\n0\r\n\r\n"
    line = "Transfer-Encoding: chunked\r\n"
    answer = await way.ask(head(port, line, "POST").encode() + body)
    assert answer.status == 200
    assert web.seen == [sent(port, line, "POST") + body]


async def test_a_second_request_is_not_sent_on(outside: Outside, open_door: OpenDoor) -> None:
    web = Web()
    way, port = await open_way(outside, open_door, web)
    smuggled = "GET http://other.example.org/ HTTP/1.1\r\nHost: other.example.org\r\n\r\n"
    answer = await way.ask(head(port) + smuggled)
    assert (answer.status, answer.body) == (200, b"ACGT")
    web.until = b"ACGT"
    await way.ask(head(port, "Content-Length: 4\r\n", "POST") + "ACGT" + smuggled)
    assert web.seen == [sent(port), sent(port, "Content-Length: 4\r\n", "POST") + b"ACGT"]


@pytest.mark.parametrize(
    "body",
    [
        "4;a=b\r\nACGT\r\n0\r\n\r\n",
        "0x4\r\nACGT\r\n0\r\n\r\n",
        "+4\r\nACGT\r\n0\r\n\r\n",
        " 4\r\nACGT\r\n0\r\n\r\n",
        "4 \r\nACGT\r\n0\r\n\r\n",
        "-4\r\nACGT\r\n0\r\n\r\n",
        "4\nACGT\r\n0\r\n\r\n",
        "4\r\nACGTT\r\n0\r\n\r\n",
        "4\r\nACGT0\r\n\r\n",
        "\r\n0\r\n\r\n",
        "fffffffff\r\n",
        "x\r\n",
        "1\r\nA\r\n" * 10_001 + "0\r\n\r\n",
        "0\r\nX-Trailer: 1\r\n\r\n",
        "0\r\nGET / HTTP/1.1\r\n",
    ],
)
async def test_a_chunk_that_is_not_exact(body: str, outside: Outside, open_door: OpenDoor) -> None:
    web = Web(until=b"no such end")
    way, port = await open_way(outside, open_door, web)
    line = "Transfer-Encoding: chunked\r\n"
    answer = await way.ask(head(port, line, "POST") + body)
    assert (answer.status, answer.code) == (400, "malformed")
    (call,) = await way.ended()
    assert (call.verdict, call.reason) == ("refused", "malformed")
    await outside.ended()
    # Upstream never saw the end of a request, nor anything after it.
    assert not web.seen[0].endswith(b"0\r\n\r\n")
    assert b"GET" not in web.seen[0]
    assert b"Trailer" not in web.seen[0]


@pytest.mark.parametrize(
    "more",
    [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 4\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "Transfer-Encoding: chunked\r\n folded\r\n",
        "Host: other.example.org\r\n",
        "X: a\nHost: other.example.org\r\n",
    ],
)
async def test_what_is_uncertain_never_leaves(
    more: str, outside: Outside, open_door: OpenDoor
) -> None:
    web = Web()
    way, port = await open_way(outside, open_door, web)
    answer = await way.ask(head(port, more, "POST") + "0\r\n\r\n")
    assert (answer.status, answer.code) == (400, "malformed")
    assert (web.seen, outside.asked) == ([], [])


async def test_plain_http_needs_a_plain_port(outside: Outside, open_door: OpenDoor) -> None:
    port = await outside.serve(Web())
    way = await open_door(port)
    answer = await way.ask(head(port))
    assert (answer.status, answer.code) == (403, "port_not_allowed")
    answer = await way.ask(f"GET http://{HOST}/ HTTP/1.1\r\nHost: {HOST}\r\n\r\n")
    assert (answer.status, answer.code) == (403, "port_not_allowed")


async def test_host_is_not_the_target(outside: Outside, open_door: OpenDoor) -> None:
    way, port = await open_way(outside, open_door, Web())
    text = head(port).replace(f"Host: {HOST}", "Host: other.example.org")
    answer = await way.ask(text)
    assert (answer.status, answer.code) == (403, "host_mismatch")
    assert outside.asked == []
    assert [(call.host, call.reason) for call in await way.ended()] == [(HOST, "host_mismatch")]


@pytest.mark.parametrize(
    "data",
    [
        b"GET http://" + HOST.encode() + b"/" + b"a" * 2**17,
        b"GET http://" + HOST.encode() + b"/ HTTP/1.1\r\n" + b"X: 1\r\n" * 2**15 + b"\r\n",
        b"\0" * 2**17,
        b"\r\n\r\n",
        b"\x16\x03\x01\x00\x05hello\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_a_head_that_is_none(data: bytes, open_door: OpenDoor) -> None:
    way = await open_door(443)
    answer = await way.ask(data)
    assert (answer.status, answer.code) == (400, "malformed")
    assert [(call.host, call.verdict) for call in await way.ended()] == [("", "refused")]


async def test_a_head_that_is_cut_short(open_door: OpenDoor) -> None:
    way = await open_door(443)
    async with way.peer() as peer:
        await peer.send(b"GET http://")
        peer.writer.write_eof()
        assert (await peer.answer()).code == "malformed"


async def test_a_redirect_is_the_clients_to_follow(outside: Outside, open_door: OpenDoor) -> None:
    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\r\n")

    port = await outside.serve(redirect)
    way = await open_door(port, plain_ports=frozenset({port}))
    assert (await way.ask(head(port))).status == 302
    answer = await way.ask("GET http://169.254.169.254/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n")
    assert (answer.status, answer.code) == (403, "address")


@pytest.mark.parametrize(
    ("told", "heard"),
    [
        (
            b"HTTP/1.1 200 OK\r\nA: 1\r\n\r\nxy",
            b"HTTP/1.1 200 OK\r\nA: 1\r\nConnection: close\r\n\r\nxy",
        ),
        (
            b"HTTP/1.1 200 OK\r\nConnection: Keep-Alive\r\nKeep-Alive: timeout=5\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
        ),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 404\r\n\r\nno",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 404\r\nConnection: close\r\n\r\nno",
        ),
    ],
)
async def test_an_answer_says_that_the_connection_ends(
    told: bytes, heard: bytes, outside: Outside, open_door: OpenDoor
) -> None:
    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(told)
        await writer.drain()

    port = await outside.serve(tell)
    way = await open_door(port, plain_ports=frozenset({port}))
    async with way.peer() as peer:
        await peer.send(head(port).encode())
        assert await peer.rest() == heard


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: 1\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: 1\r\n" * 10_000 + b"\r\n",
    ],
)
async def test_an_answer_that_is_none(told: bytes, outside: Outside, open_door: OpenDoor) -> None:
    async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(told)
        await writer.drain()

    port = await outside.serve(tell)
    way = await open_door(port, plain_ports=frozenset({port}))
    answer = await way.ask(head(port))
    assert (answer.status, answer.code) == (502, "bad_answer")
    assert [call.verdict for call in await way.ended()] == ["failed"]
