"""From inside a sandbox with an allow-list: what it lets out, and everything else it must not."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import pytest

from app.sandbox import Capabilities, TaskSpec
from app.sandbox.egress import Egress, Policy
from tests.conftest import cannot_run
from tests.sandbox.abuse.conftest import USUAL, Attack, Run, Seen, started
from tests.sandbox.abuse.prelude import said

pytestmark = pytest.mark.anyio

ALLOWED, INNER, TURNING = "data.example.org", "inner.example.org", "turning.example.org"
# Two addresses of loopback: one stands for the public world, the other for what is private.
PUBLIC, PRIVATE = "127.0.0.1", "127.0.0.2"

_ASK = """
import glob, socket
def ask(what, text):
    with socket.create_connection(("127.0.0.1", 3128), 5) as sock:
        # what is let out answers; what is not may keep silent
        sock.settimeout(10 if what in P["good"] else 1)
        sock.sendall(text.encode("latin-1"))
        answer = b""
        while part := sock.recv(65536):
            answer += part
            if P["tunnel"] in text and b"\\r\\n\\r\\n" in answer:
                break
    if b"private" in answer or not answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 204")):
        raise PermissionError(1, "refused")
for what, text in P["asks"].items():
    attempt(what, ask, what, text)
def direct(address, port):
    with socket.create_connection((address, port), 5):
        pass
attempt("round the proxy", direct, "127.0.0.2", P["port"])
attempt("to the public address", direct, "192.0.2.1", 443)
TOLD["sockets"] = glob.glob("/run/*/proxy.sock")
attempt("put a socket in its place", os.unlink, "/run/egress/proxy.sock")
"""
_SHUT = """
import os, socket
def connect(family, address):
    with socket.socket(family) as sock:
        sock.settimeout(5)
        sock.connect(address)
attempt("port", connect, socket.AF_INET, ("127.0.0.1", 3128))
attempt("socket", connect, socket.AF_UNIX, "/run/egress/proxy.sock")
TOLD["proxies"] = [name for name in os.environ if "proxy" in name.lower()]
"""


class World:
    """Two servers, one public and one private, and a name server that changes its mind."""

    def __init__(self) -> None:
        self.reached: list[str] = []
        self.turns = [[PUBLIC], [PRIVATE]]
        self._servers: list[asyncio.Server] = []

    async def serve(self, address: str, port: int = 0) -> int:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.reached.append(address)
            text = b"public" if address == PUBLIC else b"private"
            # who asked may have left
            with suppress(OSError):
                await reader.read(65536)
                writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + text)
                await writer.drain()
            writer.close()

        self._servers.append(await asyncio.start_server(answer, address, port))
        found: int = self._servers[-1].sockets[0].getsockname()[1]
        return found

    async def look_up(self, host: str, port: int) -> Sequence[str]:
        if host == TURNING:
            return self.turns.pop(0) if len(self.turns) > 1 else self.turns[0]
        return {ALLOWED: [PUBLIC], INNER: [PRIVATE]}[host]

    def close(self) -> None:
        for server in self._servers:
            server.close()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    made = World()
    yield made
    made.close()


def _get(url: str, host: str, more: str = "", method: str = "GET") -> str:
    return f"{method} {url} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n"


def _connect(target: str) -> str:
    return f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"


def _asks(port: int) -> dict[str, str]:
    good, inner = f"{ALLOWED}:{port}", f"{INNER}:{port}"
    page, hidden = _get(f"http://{good}/", good), _get(f"http://{inner}/", inner)
    both = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"
    return {
        "allowed": page,
        "turning, first": _get(f"http://{TURNING}:{port}/", f"{TURNING}:{port}"),
        "turning, then private": _get(f"http://{TURNING}:{port}/", f"{TURNING}:{port}"),
        "private name": hidden,
        "address": _get(f"http://{PRIVATE}:{port}/", f"{PRIVATE}:{port}"),
        "public address": _get(f"http://{PUBLIC}:{port}/", f"{PUBLIC}:{port}"),
        "other host": _get("http://www.example.net/", "www.example.net"),
        "other host in Host": _get(f"http://{good}/", inner),
        "two Hosts": _get(f"http://{good}/", good, f"Host: {inner}\r\n"),
        "user in the URL": _get(f"http://{good}@{inner}/", good),
        "user in the URL, turned": _get(f"http://{inner}@{good}/", inner),
        "a file": _get("file:///etc/passwd", good),
        "a path alone": _get("/", good),
        "tunnel to an address": _connect(f"{PRIVATE}:{port}"),
        "tunnel to metadata": _connect("169.254.169.254:80"),
        "tunnel to IPv6": _connect(f"[::1]:{port}"),
        "tunnel to a mapped address": _connect(f"[::ffff:127.0.0.2]:{port}"),
        "tunnel to a number": _connect(f"2130706434:{port}"),
        "tunnel in octal": _connect(f"0177.0.0.2:{port}"),
        "tunnel in hexadecimal": _connect(f"0x7f.0.0.2:{port}"),
        "tunnel to localhost": _connect(f"localhost:{port}"),
        "tunnel to a private name": _connect(inner),
        "tunnel to port 22": _connect(f"{ALLOWED}:22"),
        "tunnel to port 25": _connect(f"{ALLOWED}:25"),
        "tunnel with a dot": _connect(f"{INNER}.:{port}"),
        "length twice": _get(f"http://{good}/", good, both, "POST") + "0\r\n\r\n" + hidden,
        "odd coding": _get(f"http://{good}/", good, "Transfer-Encoding: xchunked\r\n", "POST"),
        "folded coding": _get(
            f"http://{good}/", good, "Transfer-Encoding:\r\n chunked\r\n", "POST"
        ) + f"0\r\n\r\n{hidden}",
        "bare line feeds": hidden.replace("\r\n", "\n"),
        "a line in the target": f"GET http://{good}/\r\nHost: {inner}\r\n\r\n",
        "pipelined": page.replace("\r\n\r\n", "\r\nX-Long: 1\r\n\r\n") + hidden,
        "a body that is a request": _get(
            f"http://{good}/", good, f"Content-Length: {len(hidden)}\r\n", "POST"
        ) + hidden + hidden,
        "SOCKS": "\x05\x01\x00",
        "the old upgrade": _get(
            f"http://{good}/", good, "Connection: Upgrade\r\nUpgrade: h2c\r\n", "TRACE"
        ),
    }  # fmt: skip


async def test_proxy_abuse(
    world: World, capabilities: Capabilities, attack: Attack, seen: Seen
) -> None:
    if capabilities.executor == "kubernetes":
        cannot_run("what a pod may reach is its NetworkPolicy's business")
    port = await world.serve(PUBLIC)
    await world.serve(PRIVATE, port)
    allowed = dict.fromkeys((ALLOWED, INNER, TURNING), frozenset({port}))
    policy = Policy("test", allowed, plain_ports=frozenset({port}))
    egress = Egress(
        {"test": policy}, look_up=world.look_up, is_open=lambda address: address == PUBLIC
    )
    good = ["allowed", "turning, first"]
    code = attack(_ASK, asks=_asks(port), good=good, port=port, tunnel="CONNECT")
    try:
        async with started(capabilities.executor, egress) as sandbox:
            spec = TaskSpec("asks", code, limits=USUAL, egress="test")
            result = await sandbox.run(spec)
            shut = await sandbox.run(TaskSpec("shut", attack(_SHUT), limits=USUAL))
    finally:
        await egress.close()
    came = said(result.stdout)
    assert len(came.tried) == len(_asks(port)) + 3, result.stderr
    # the first shows that the way is open; what a pipelined or long one got is its own page
    let_out = {"allowed", "turning, first", "pipelined", "a body that is a request"}
    assert set(good) <= came.done() <= let_out, came.tried
    assert came.told["sockets"] == ["/run/egress/proxy.sock"]
    assert set(world.reached) == {PUBLIC}
    verdicts = {call.verdict for call in result.egress}
    assert {"allowed", "refused"} <= verdicts
    assert said(shut.stdout).tried.keys() == {"port", "socket"}, shut.stderr
    assert (said(shut.stdout).done(), said(shut.stdout).told["proxies"]) == (set(), [])
    seen()


async def test_without_a_policy_there_is_no_way(run: Run, attack: Attack) -> None:
    result = await run(attack(_SHUT))
    assert said(result.stdout).tried.keys() == {"port", "socket"}
    assert said(result.stdout).done() == set()
