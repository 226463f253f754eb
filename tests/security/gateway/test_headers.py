"""Requests that two readers could read in two ways, byte by byte: refused, never guessed."""

import orjson
import pytest

from tests.security.gateway.conftest import code_in, free, head, raw
from tests.surfaces.fastpath.conftest import Far, message

pytestmark = pytest.mark.anyio
BODY = orjson.dumps(message())
MODERN = ("mcp-protocol-version: 2026-07-28", "mcp-method: tools/call", "mcp-name: far.echo")
LENGTH = f"content-length: {len(BODY)}"
CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY)

# RFC 9112, sections 5, 6.1 and 6.3: what a server has to refuse, and then hang up.
NO_REQUEST = {
    "two lengths": ((LENGTH, f"content-length: {len(BODY) + 5}"), BODY),
    "one length twice": ((LENGTH, LENGTH), BODY),
    "lengths in a list": ((f"content-length: {len(BODY)}, {len(BODY)}",), BODY),
    "a length with a sign": ((f"content-length: +{len(BODY)}",), BODY),
    "a length in hexadecimal": ((f"content-length: {hex(len(BODY))}",), BODY),
    "a length below nothing": (("content-length: -1",), BODY),
    "a length past all numbers": (("content-length: " + "9" * 40,), BODY),
    "a length and chunks": ((LENGTH, "transfer-encoding: chunked"), CHUNKED),
    "chunks and a length": (("transfer-encoding: chunked", LENGTH), CHUNKED),
    "chunked is not the last": (("transfer-encoding: chunked, gzip",), CHUNKED),
    "chunked twice": (("transfer-encoding: chunked", "transfer-encoding: identity"), CHUNKED),
    "white space before the colon": ((LENGTH, "transfer-encoding : chunked"), CHUNKED),
    "a folded line": ((LENGTH, "x-a: b\r\n c"), BODY),
    "a folded first line": ((" x-a: b", LENGTH), BODY),
    "a bare line feed": ((LENGTH, "x-a: b\nmcp-name: far.free"), BODY),
    "a bare carriage return": ((LENGTH, "x-a: b\rmcp-name: far.free"), BODY),
    "a NUL in a value": ((LENGTH, "x-a: b\0c"), BODY),
    "a NUL in a name": ((LENGTH, "x\0a: b"), BODY),
    "a name with a space": ((LENGTH, "mcp name: far.echo"), BODY),
    "no name": ((LENGTH, ": far.echo"), BODY),
    "a chunk of no length": (("transfer-encoding: chunked",), b"xyz\r\n\r\n"),
    "a chunk without end": (("transfer-encoding: chunked",), b"f" * 40 + b"\r\n"),
}

SMUGGLED = b"POST /mcp HTTP/1.1\r\nhost: smuggled\r\ncontent-length: 0\r\n\r\n"


async def test_what_can_be_read_in_two_ways_is_no_request(far: Far) -> None:
    """A second request behind it, which another reader would see, is not answered either."""
    for name, (lines, body) in NO_REQUEST.items():
        async with raw(far) as line:
            await line.send(head(far, *MODERN, *lines) + body + SMUGGLED)
            said = await line.rest()
        first, _, rest = said.partition(b"\r\n")
        assert first.split(b" ")[1:2] in ([b"400"], []), (name, said)
        assert b"HTTP/1.1 " not in rest, (name, said)
    await free(far)


# Headers of MCP that do not agree with the body or with themselves (2026-07-28, Streamable HTTP).
DISAGREEING = [
    ("mcp-name: far.free", "mcp-name: far.echo"),
    ("mcp-name: far.echo", "mcp-name: far.echo"),
    ("mcp-name: far.echo, far.free",),
    ("mcp-name: far.free",),
    ("mcp-name: =?base64?ZmFyLmZyZWU=?=",),
    ("mcp-name: =?base64?ZmFyLmVjaG8?=",),
    ("mcp-name: =?base64?!!!?=",),
    ("mcp-name: =?base64?ZmFyLmVjaG8NCngtYTogYg==?=",),
    ("mcp-name: far.ech\xef",),
    ("mcp-name:",),
    ("mcp-method: tools/list", "mcp-name: far.echo"),
    ("mcp-method: tools/call", "mcp-method: tools/list", "mcp-name: far.echo"),
    ("mcp-method: TOOLS/CALL", "mcp-name: far.echo"),
    ("mcp-protocol-version: 2025-06-18", "mcp-name: far.echo"),
    ("mcp-protocol-version: 2026-07-28", "mcp-protocol-version: 2025-06-18", "mcp-name: far.echo"),
]


async def test_headers_of_mcp_that_disagree(far: Far) -> None:
    for lines in DISAGREEING:
        given = {line.partition(":")[0] for line in lines}
        usual = [line for line in MODERN if line.partition(":")[0] not in given]
        async with raw(far) as line:
            await line.send(head(far, *usual, *lines, LENGTH) + BODY)
            status, _, said = await line.answer()
        assert status == 400, (lines, said)
        assert code_in(said) in {-32020, -32022, -32600, -32602}, (lines, said)
    await free(far)


async def test_header_bombs(far: Far) -> None:
    """Many headers, or one without end: an answer or a hang-up, and others go on."""
    for lines in (
        [f"x-{number}: {'y' * 60}" for number in range(5_000)],
        ["x-a: " + "y" * 4_000_000],
        ["y" * 4_000_000 + ": a"],
        ["cookie: " + "a=b; " * 200_000],
    ):
        async with raw(far) as line:
            await line.send(head(far, *MODERN, *lines, LENGTH) + BODY)
            said = await line.rest()
        assert said.split(b" ")[1:2] in ([b"431"], [b"400"], []), said[:300]
    await free(far)
    assert (await far.post(message())).status_code == 200


async def test_hosts_that_disagree(far: Far) -> None:
    for lines in (["host: evil.example"], ["host:"], ["x-forwarded-host: a", "host: a"]):
        async with raw(far) as line:
            await line.send(head(far, *MODERN, *lines, LENGTH) + BODY)
            said = await line.rest()
        assert said.split(b" ")[1] == b"400", said
    await free(far)
