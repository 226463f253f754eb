"""The relay inside: a loopback port, and behind it the proxy; bytes only, and every end."""

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import aiohttp
import httpx2
import pytest

from sandbox import relay
from tests.sandbox.egress.conftest import (
    HOST,
    LOOPBACK,
    Handler,
    OpenDoor,
    Outside,
    Peer,
    Way,
    echo,
)
from tests.sandbox.rooms import until

pytestmark = pytest.mark.anyio
_SERVE = """
import _socket, sys
from sandbox.relay import Relay
listener = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM, 0, int(sys.argv[1]))
Relay(listener, sys.argv[2]).run()
"""


@contextmanager
def relaying(path: Path) -> Iterator[tuple[int, int]]:
    """A relay in a process of its own; its port and its process id."""
    listener = relay.listen(0)
    port = listener.getsockname()[1]
    command = [sys.executable, "-c", _SERVE, str(listener.fileno()), str(path)]
    with subprocess.Popen(command, pass_fds=[listener.fileno()]) as process:
        listener.close()
        try:
            yield port, process.pid
        finally:
            process.kill()


@asynccontextmanager
async def client(port: int) -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        yield Peer(reader, writer)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


@asynccontextmanager
async def served(path: Path, handler: Handler) -> AsyncIterator[None]:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_unix_server(accept, path)
    try:
        yield
    finally:
        server.close()
        path.unlink()


@pytest.fixture
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("r") / "s"


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def held(pid: int) -> list[str]:
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(str(path.readlink()).split(":")[0])
    return sorted(found)


def ticks(pid: int) -> int:
    """Processor time that the process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


async def test_bytes_go_both_ways_and_ends_are_kept(path: Path) -> None:
    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.read()
        writer.write(b"%d" % len(data) + b"." * 3_000_000)
        await writer.drain()
        writer.close()

    async with served(path, count):
        with relaying(path) as (port, _):
            async with client(port) as peer:
                await peer.send(bytes(5_000_000))
                peer.writer.write_eof()
                answer = await peer.rest()
    assert answer.rstrip(b".") == b"5000000"
    assert len(answer) == 3_000_007


async def test_many_at_once_and_nothing_left(path: Path) -> None:
    async with served(path, echo):
        with relaying(path) as (port, pid):

            async def one(number: int) -> bool:
                data = b"%d " % number * 20_000
                async with client(port) as peer:
                    sending = asyncio.create_task(peer.send(data))
                    back = await peer.reader.readexactly(len(data))
                    await sending
                    return back == data

            async def used() -> int:
                """Its descriptors while one client is there."""
                async with client(port) as peer:
                    await peer.send(b"x")
                    await peer.reader.readexactly(1)
                    return descriptors(pid)

            before = await used()
            for _ in range(3):
                assert all(await asyncio.gather(*(one(number) for number in range(100))))
            for _ in range(200):
                left = await used()
                if left <= before:
                    break
            assert left <= before


async def test_more_than_the_most_wait_their_turn(path: Path) -> None:
    async with served(path, echo):
        with relaying(path) as (port, pid):
            opened = [await asyncio.open_connection(LOOPBACK, port) for _ in range(250)]
            for _, writer in opened:
                writer.write(b"x")
            for reader, _ in opened[: relay.PAIRS]:
                assert await reader.readexactly(1) == b"x"
            assert descriptors(pid) < 2 * relay.PAIRS + 10
            for _, writer in opened[: relay.PAIRS]:
                writer.close()
            for reader, writer in opened[relay.PAIRS :]:
                assert await reader.readexactly(1) == b"x"
                writer.close()
            for _, writer in opened:
                with suppress(OSError):
                    await writer.wait_closed()


async def test_without_a_proxy_it_says_so(path: Path) -> None:
    with relaying(path) as (port, _):
        async with client(port) as peer:
            await peer.send(b"CONNECT a.example:443 HTTP/1.1\r\n\r\n" + bytes(100_000))
            assert (await peer.answer()).status == 502
        # It may appear later.
        async with served(path, echo), client(port) as peer:
            await peer.send(b"ACGT")
            assert await peer.reader.readexactly(4) == b"ACGT"


async def test_a_refusal_is_heard_by_a_client_that_still_sends(path: Path) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        writer.write(b"HTTP/1.1 403 No\r\n\r\n")
        writer.close()

    async with served(path, refuse):
        with relaying(path) as (port, _):
            async with client(port) as peer:
                await peer.send(bytes(10_000_000))
                assert (await peer.answer()).status == 403


async def test_a_client_that_leaves_ends_the_pair(path: Path) -> None:
    ended = asyncio.Event()

    async def pour(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while True:
                writer.write(bytes(2**16))
                await writer.drain()
        writer.close()
        ended.set()

    async with served(path, pour):
        with relaying(path) as (port, _):
            async with client(port) as peer:
                await peer.reader.readexactly(10)
                peer.writer.transport.abort()
            await ended.wait()


async def test_it_does_not_spin_while_one_side_does_not_read(path: Path) -> None:
    stuck = asyncio.Event()
    release = asyncio.Event()

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(bytes(100))
        writer.write_eof()
        stuck.set()
        await release.wait()
        while await reader.read(2**16):
            pass
        writer.close()

    async with served(path, half):
        with relaying(path) as (port, pid):
            async with client(port) as peer:
                sending = asyncio.create_task(peer.send(bytes(20_000_000)))
                await stuck.wait()
                assert await peer.reader.read(100) != b""
                async with client(port) as other:
                    await other.send(b"x")
                    await other.reader.readexactly(100)
                before = ticks(pid)
                _, pending = await asyncio.wait([sending], timeout=0.5)
                assert pending
                # a loop without rest would have used all of the half second
                assert ticks(pid) - before < os.sysconf("SC_CLK_TCK") // 4
                release.set()
                await sending


def run_inside(port: int, code: str) -> str:
    """Run code as the sandbox would, with the relay as its proxy."""
    proxy = f"http://{LOOPBACK}:{port}"
    variables = {"http_proxy": proxy, "https_proxy": proxy, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False
    )
    return done.stdout + done.stderr


async def test_urllib_through_relay_and_proxy(outside: Outside, open_door: OpenDoor) -> None:
    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nACGT")
        await writer.drain()

    port = await outside.serve(page, is_tls=True)
    way: Way = await open_door(port)
    code = f"""
import json, ssl, urllib.error, urllib.request
trusted = ssl.create_default_context(cafile={str(outside.public)!r})
for url in ("https://{HOST}:{port}/", "https://other.example.org/", "https://127.0.0.1/",
            "http://{HOST}/"):
    try:
        print(urllib.request.urlopen(url, context=trusted).read())
    except urllib.error.HTTPError as error:
        print(error.code, error.reason, json.load(error)["code"])
    except urllib.error.URLError as error:
        print(error.reason)
"""
    with relaying(way.path) as (relay_port, _):
        told = await asyncio.to_thread(run_inside, relay_port, code)
    assert told.splitlines() == [
        "b'ACGT'",
        "Tunnel connection failed: 403 other.example.org is not an allowed host",
        "Tunnel connection failed: 403 Addresses are not allowed, only names",
        f"403 {HOST}:80 is not an allowed port port_not_allowed",
    ]
    assert sorted(call.verdict for call in await way.ended()) == ["allowed"] + ["refused"] * 3


async def test_other_clients_through_relay_and_proxy(outside: Outside, open_door: OpenDoor) -> None:
    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nACGT")
            await writer.drain()

    port = await outside.serve(page, is_tls=True)
    plain = await outside.serve(page)
    way: Way = await open_door(port, plain, plain_ports=frozenset({plain}))
    trusted = ssl.create_default_context(cafile=str(outside.public))
    urls = [f"https://{HOST}:{port}/"] * 3 + [f"http://{HOST}:{plain}/"] * 3
    with relaying(way.path) as (relay_port, _):
        proxy = f"http://{LOOPBACK}:{relay_port}"
        async with httpx2.AsyncClient(proxy=proxy, verify=trusted) as session:
            answers = [(await session.get(url)).text for url in urls]
            with pytest.raises(httpx2.ProxyError, match="is not an allowed host"):
                await session.get("https://other.example/")
        connector = aiohttp.TCPConnector(ssl=trusted)
        async with aiohttp.ClientSession(connector=connector) as client_session:
            for url in urls:
                async with client_session.get(url, proxy=proxy) as answer:
                    answers.append(await answer.text())
    assert answers == ["ACGT"] * 12


async def test_start_holds_nothing_but_its_listener(path: Path) -> None:
    code = """
import os, sys
from sandbox import relay
kept = os.open("/dev/null", os.O_RDONLY)
free = relay.listen(0)
port = free.getsockname()[1]
# it listens already, or somebody else might get the port meanwhile
relay.listen = lambda _port: free
print(relay.start(sys.argv[1], port), port, flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True, check=True
    )
    pid, port = map(int, done.stdout.split())
    try:
        # That `run` came back says that the fork holds no pipe of its parent's, and no more: it
        # lets go of the rest after that.
        await until(lambda: held(pid) == ["/dev/null", "/dev/null", "/dev/null", "socket"])
        with socket.create_connection((LOOPBACK, port)) as sock:
            assert sock.recv(100).startswith(b"HTTP/1.1 502 ")
    finally:
        os.kill(pid, signal.SIGKILL)


def test_a_port_that_is_taken(path: Path) -> None:
    with socket.create_server((LOOPBACK, 0)) as taken, pytest.raises(OSError, match="in use"):
        relay.start(str(path), taken.getsockname()[1])


def test_it_loads_next_to_nothing() -> None:
    code = (
        "import sys; had = set(sys.modules); import sandbox.relay; print(*set(sys.modules) - had)"
    )
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert set(told.stdout.split()) <= {
        "sandbox",
        "sandbox.relay",
        "_socket",
        "select",
        "__future__",
    }
