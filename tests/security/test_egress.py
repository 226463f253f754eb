"""The one way out to addresses of users: nothing that is not public is connected to."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpcore2
import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.kernel import egress
from app.kernel.egress import EgressDeniedError, GuardedTransport, check_target, is_public
from app.kernel.errors import AppError, Code

pytestmark = pytest.mark.anyio
CLOSED = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.255.255.254",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::a00:1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "",
    "localhost",
]
OPEN = ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::1"]
SPELT = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0177.0.0.1",
    "017700000001",
    "0",
    "0xa9fea9fe",
    "169.254.43518",
    "[::1]",
    "[::ffff:7f00:1]",
    "[::ffff:127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[fe80::1]",
    "[::]",
]


@pytest.mark.parametrize("address", CLOSED)
def test_what_is_not_public_is_closed(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", OPEN)
def test_what_is_public_is_open(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("host", SPELT)
def test_an_address_is_known_however_it_is_spelt(host: str) -> None:
    with pytest.raises(AppError) as caught:
        check_target(f"https://{host}/hook")
    assert caught.value.code is Code.INVALID_INPUT
    assert caught.value.details == {"pointer": "/url"}


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.org/",
        "ftp://hooks.example.org/",
        "file:///etc/passwd",
        "hooks.example.org",
        "https://",
        "https:///x",
        "https://a:b@hooks.example.org/",
        "https://hooks.example.org/#x",
        "https://hooks.example.org:0/",
        "https://hooks.example.org:99999/",
        "https://hooks.example.org:x/",
        "https://[::1/",
        "https://exa mple.org/",
        "https://\u0000.org/",
        "",
        "https://hooks.example.org/" + "a" * 2048,
    ],
)
def test_what_is_no_target_is_refused(url: str) -> None:
    with pytest.raises(AppError) as caught:
        check_target(url)
    assert caught.value.code is Code.INVALID_INPUT


@pytest.mark.parametrize(
    "url",
    ["https://hooks.example.org/a?b=c", "https://hooks.example.org:8443/", "https://8.8.8.8/"],
)
def test_a_target_is_taken_as_it_is(url: str) -> None:
    assert check_target(url) == url
    assert check_target("http://127.0.0.1:9/", allow_private=True) == "http://127.0.0.1:9/"


class Network(httpcore2.AsyncNetworkBackend):
    """Notes who was connected to, and connects to nobody."""

    def __init__(self) -> None:
        self.connected: list[tuple[str, int]] = []

    async def connect_tcp(self, host: str, port: int, *_: Any) -> httpcore2.AsyncNetworkStream:
        self.connected.append((host, port))
        raise httpcore2.ConnectError("nobody there")


class Names:
    """A name server whose answers change."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int]] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        return self.answers.pop(0)


@asynccontextmanager
async def guarded(
    names: Names, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[GuardedTransport, Network]]:
    network = Network()
    monkeypatch.setattr(egress.httpcore2, "AnyIOBackend", lambda: network)
    transport = GuardedTransport(look_up=names)
    yield transport, network
    await transport.aclose()


async def get(transport: GuardedTransport, url: str, **extensions: Any) -> httpx2.Response:
    request = httpx2.Request("GET", url, extensions=extensions)
    return await transport.handle_async_request(request)


@pytest.mark.parametrize("address", [one for one in CLOSED if one])
async def test_a_name_of_a_closed_address_is_not_connected_to(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for answer in ([address], ["8.8.8.8", address]):
        async with guarded(Names(answer), monkeypatch) as (transport, network):
            with pytest.raises(EgressDeniedError, match="not public"):
                await get(transport, "https://hooks.example.org/")
            assert network.connected == []


async def test_an_answer_that_changes_is_checked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(["8.8.8.8", "2606:4700::1111"], ["127.0.0.1"])
    async with guarded(names, monkeypatch) as (transport, network):
        with pytest.raises(httpx2.ConnectError, match="nobody there"):
            await get(transport, "https://hooks.example.org:8443/")
        # One question, and the addresses themselves are connected to, not the name.
        assert names.asked == [("hooks.example.org", 8443)]
        assert network.connected == [("8.8.8.8", 8443), ("2606:4700::1111", 8443)]
        with pytest.raises(EgressDeniedError):
            await get(transport, "https://hooks.example.org:8443/")
        assert len(network.connected) == 2


@pytest.mark.parametrize("host", [*SPELT, "localhost", "localhost."])
async def test_the_resolver_of_the_machine_does_not_help(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Network()
    monkeypatch.setattr(egress.httpcore2, "AnyIOBackend", lambda: network)
    transport = GuardedTransport()
    with pytest.raises((httpx2.ConnectError, httpx2.InvalidURL)):
        await get(transport, f"https://{host}/")
    assert network.connected == []
    await transport.aclose()


async def test_plain_http_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    async with guarded(Names(["8.8.8.8"]), monkeypatch) as (transport, network):
        with pytest.raises(EgressDeniedError, match="https"):
            await get(transport, "http://hooks.example.org/")
        assert network.connected == []


@pytest.mark.parametrize("fault", [OSError("no such name"), None])
async def test_a_name_without_addresses(
    fault: OSError | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look_up(_host: str, _port: int) -> Sequence[str]:
        if fault is not None:
            raise fault
        return []

    async with guarded(look_up, monkeypatch) as (transport, _):  # type: ignore[arg-type]
        with pytest.raises(httpx2.ConnectError, match="no address"):
            await get(transport, "https://hooks.example.org/")


async def test_a_name_server_that_never_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def look_up(_host: str, _port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    async with guarded(look_up, monkeypatch) as (transport, _):  # type: ignore[arg-type]
        with pytest.raises(httpx2.ConnectTimeout, match="resolved"):
            await get(transport, "https://hooks.example.org/", timeout={"connect": 0.1})


def certify(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate of its own authority for `name`, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    public, private = folder / f"{name}.crt", folder / f"{name}.key"
    public.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return public, private


async def test_tls_keeps_the_name_though_an_address_is_connected_to(tmp_path: Path) -> None:
    public, private = certify(tmp_path, "hooks.example.org")
    asked: list[str | None] = []
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(public, private)
    serving.sni_callback = lambda _socket, name, _context: asked.append(name)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"host: hooks.example.org" in head.lower()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=serving)
    port = server.sockets[0].getsockname()[1]
    trusted = ssl.create_default_context(cafile=str(public))

    async def loopback(_host: str, _port: int) -> Sequence[str]:
        return ["127.0.0.1"]

    transport = GuardedTransport(allow_private=True, look_up=loopback, tls=trusted)
    response = await get(transport, f"https://hooks.example.org:{port}/")
    assert response.status_code == 200
    await response.aclose()
    with pytest.raises(httpx2.ConnectError, match=r"(?i)certificate"):
        await get(transport, f"https://other.example.org:{port}/")
    assert asked == ["hooks.example.org", "other.example.org"]
    await transport.aclose()
    server.close()
