"""The name in a ClientHello: found in real ones, and nothing else taken for one."""

import asyncio
import ssl
from contextlib import suppress

import pytest

from app.sandbox.egress.answers import RefusedError
from app.sandbox.egress.hello import read_hello
from tests.sandbox.egress.conftest import HOST, hello_of

pytestmark = pytest.mark.anyio


async def read(data: bytes, host: str = HOST) -> bytes:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return await read_hello(reader, host)


async def code_of(data: bytes) -> str:
    with pytest.raises(RefusedError) as caught:
        await read(data)
    return caught.value.code


def records(message: bytes, size: int) -> bytes:
    """A handshake message cut into TLS records of `size` bytes."""
    parts = [message[start : start + size] for start in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part for part in parts)


def with_extension(hello: bytes, kind: int, body: bytes = b"\0") -> bytes:
    """A hello with one more extension at the end."""
    message = hello[5:]
    added = kind.to_bytes(2, "big") + len(body).to_bytes(2, "big") + body
    at = 4 + 2 + 32
    at += 1 + message[at]
    at += 2 + int.from_bytes(message[at : at + 2], "big")
    at += 1 + message[at]
    length = int.from_bytes(message[at : at + 2], "big") + len(added)
    inner = message[4:at] + length.to_bytes(2, "big") + message[at + 2 :] + added
    return records(b"\x01" + len(inner).to_bytes(3, "big") + inner, 2**14)


async def test_a_real_hello_is_passed_on_unchanged() -> None:
    hello = hello_of(HOST)
    assert await read(hello) == hello
    assert await read(hello_of(HOST.upper()), HOST) != b""


@pytest.mark.parametrize("size", [20, 100, 300])
async def test_a_hello_in_many_records(size: int) -> None:
    cut = records(hello_of(HOST)[5:], size)
    assert await read(cut) == cut


@pytest.mark.parametrize("name", ["other.example.org", "example.org", f"{HOST}.evil.org", None])
async def test_another_name_or_none(name: str | None) -> None:
    assert await code_of(hello_of(name)) == "name_mismatch"


@pytest.mark.parametrize("kind", [0xFE0D, 0xFFCE])
async def test_a_hidden_name(kind: int) -> None:
    assert await code_of(with_extension(hello_of(HOST), kind)) == "hidden_name"


async def test_an_unknown_extension_is_no_matter() -> None:
    hello = with_extension(hello_of(HOST), 0xFAFA)
    assert await read(hello) == hello


async def test_a_second_name() -> None:
    entry = b"\0\0\x03a.b"
    listed = len(entry).to_bytes(2, "big") + entry
    assert await code_of(with_extension(hello_of(HOST), 0, listed)) == "not_tls"
    two = b"\0" + len(HOST).to_bytes(2, "big") + HOST.encode() + b"\0\0\x03a.b"
    hello = with_extension(hello_of(None), 0, len(two).to_bytes(2, "big") + two)
    assert await code_of(hello) == "not_tls"


async def test_what_is_no_hello() -> None:
    hello = hello_of(HOST)
    for data in (
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x17" + hello[1:],
        b"\x16\x02" + hello[2:],
        b"\x16\x03\x01\x00\x00" + hello,
        b"\x16\x03\x01\xff\xff" + bytes(70000),
        hello[:5] + b"\x02" + hello[6:],
        records(b"\x01\xff\xff\xff" + bytes(2**16), 2**14),
        records(hello[5:] + b"\0", 2**14),
        records(b"\x01\x00\x00\x01\x03", 100),
        records(hello[5:], 1),
    ):
        assert await code_of(data) == "not_tls"


async def test_no_byte_changed_or_lost_gives_anything_but_a_verdict() -> None:
    hello = hello_of(HOST)
    for at in range(len(hello)):
        for changed in (hello[:at], hello[:at] + bytes([hello[at] ^ 0xFF]) + hello[at + 1 :]):
            with suppress(RefusedError, asyncio.IncompleteReadError):
                assert await read(changed) == changed


async def test_tls_1_2_too() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    outgoing = ssl.MemoryBIO()
    session = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=HOST)
    with suppress(ssl.SSLWantReadError):
        session.do_handshake()
    assert await read(outgoing.read())
