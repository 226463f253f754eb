"""An outside made of real servers on loopback, and doors that lead to it; nothing may leak."""

import asyncio
import json
import ssl
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.sandbox.egress import SOCKET_NAME, Door, Egress, Policy, call, upstream
from app.sandbox.types import EgressCall
from tests.sandbox.rooms import until
from tests.security.test_egress import certify

HOST = "data.example.org"
LOOPBACK = "127.0.0.1"
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(scope="session", params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param == "uvloop"}


class Outside:
    """Servers, and the name server: `answers` are given one after another, the last for ever."""

    def __init__(self, folder: Path) -> None:
        self.came = 0
        self.answers: dict[str, list[Sequence[str]]] = {HOST: [[LOOPBACK]]}
        self.asked: list[tuple[str, int]] = []
        self.names: list[str | None] = []
        self.public, self._private = certify(folder, HOST)
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def look_up(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        known = self.answers.get(host)
        if known is None:
            raise OSError("no such name")
        return known.pop(0) if len(known) > 1 else known[0]

    async def serve(self, handler: Handler, *, is_tls: bool = False) -> int:
        """Serve on a free port; the port."""
        context = None
        if is_tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.public, self._private)
            context.sni_callback = lambda _socket, name, _context: self.names.append(name)

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.came += 1
            task = asyncio.create_task(self._handle(handler, reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        server = await asyncio.start_server(accept, LOOPBACK, 0, ssl=context)
        self._servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def _handle(
        self, handler: Handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            with suppress(OSError, asyncio.IncompleteReadError):
                await handler(reader, writer)
                writer.close()
                await writer.wait_closed()
        finally:
            writer.transport.abort()

    async def ended(self, connections: int = 1) -> None:
        """Wait until so many connections have come, and every one has been handled."""
        await until(lambda: self.came >= connections)
        await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@dataclass(frozen=True)
class Answer:
    status: int
    reason: str
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def code(self) -> str:
        return str(self.json["code"])


@dataclass(frozen=True)
class Peer:
    """A client's connection to a door."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def rest(self) -> bytes:
        """Everything up to the end, however it comes."""
        data = b""
        with suppress(OSError):
            while part := await self.reader.read(2**16):
                data += part
        return data

    async def answer(self) -> Answer:
        head, _, body = (await self.rest()).partition(b"\r\n\r\n")
        _, status, reason = head.split(b"\r\n")[0].decode().split(" ", 2)
        return Answer(int(status), reason, body)


class Way:
    """A door and how its task comes to it."""

    def __init__(self, door: Door, folder: Path) -> None:
        self.door = door
        self.folder = folder

    @property
    def path(self) -> Path:
        return self.folder / SOCKET_NAME

    @asynccontextmanager
    async def peer(self) -> AsyncIterator[Peer]:
        reader, writer = await asyncio.open_unix_connection(self.path)
        try:
            yield Peer(reader, writer)
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def ask(self, data: bytes | str) -> Answer:
        """Send all of it and read to the end."""
        async with self.peer() as peer:
            with suppress(OSError):
                await peer.send(data if isinstance(data, bytes) else data.encode("latin-1"))
            return await peer.answer()

    @asynccontextmanager
    async def tunnel(self, port: int, host: str = HOST) -> AsyncIterator[Peer]:
        """An established tunnel, nothing sent through it."""
        async with self.peer() as peer:
            await peer.send(
                f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()
            )
            head = await peer.reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 "), head
            yield peer

    async def ended(self) -> list[EgressCall]:
        """The log of a door whose calls have ended of themselves."""
        await asyncio.gather(*self.door._running)
        await self.door.close()
        return self.door.calls


OpenDoor = Callable[..., Awaitable[Way]]


@pytest.fixture
async def nothing_is_left(anyio_backend: object) -> AsyncIterator[None]:
    before, tasks = _sockets(), _tasks()
    yield
    # each run of its loop takes a pair of its own
    pair = 2 if "uvloop" in type(asyncio.get_running_loop()).__module__ else 0
    deadline = time.monotonic() + 60
    while (_tasks() - tasks or len(_sockets() - before) > pair) and time.monotonic() < deadline:
        await asyncio.sleep(0.001)
    assert _tasks() - tasks == set()
    assert len(_sockets() - before) <= pair


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test is about a machine that stops for some seconds."""
    monkeypatch.setattr(call, "HEAD_S", 60.0)
    monkeypatch.setattr(call, "_FLUSH_S", 60.0)
    monkeypatch.setattr(upstream, "CONNECT_S", 60.0)


def _tasks() -> set[asyncio.Task[Any]]:
    """All tasks but those of the test runner."""
    return {task for task in asyncio.all_tasks() if "TestRunner" not in repr(task)}


def _sockets() -> set[str]:
    """The sockets that are open here, each by its number."""
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.add(str(path.readlink()))
    return {name for name in found if name.startswith("socket:")}


@pytest.fixture
async def outside(nothing_is_left: None, tmp_path: Path) -> AsyncIterator[Outside]:
    made = Outside(tmp_path)
    yield made
    await made.close()


@pytest.fixture
async def egress(outside: Outside) -> AsyncIterator[Egress]:
    """Loopback's one address counts as public here, and no other."""
    # pytest's own folders are too deep for the path of a socket
    root = Path(tempfile.mkdtemp(prefix="egress-"))
    made = Egress(
        {}, look_up=outside.look_up, is_open=lambda address: address == LOOPBACK, root=root
    )
    yield made
    await made.close()
    root.rmdir()  # fails if anything is left in it


@pytest.fixture
def open_door(egress: Egress) -> OpenDoor:
    """`await open_door(port, ..., any cap)`: a door to those ports of HOST."""

    async def start(*ports: int, hosts: Sequence[str] = (HOST,), **caps: Any) -> Way:
        allowed = {host: frozenset(ports) for host in hosts}
        egress.policies["test"] = Policy("test", allowed, **caps)
        folder = egress.new_folder()
        return Way(await egress.open(folder, "test", "task-1"), folder)

    return start


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes, to the end."""
    while data := await reader.read(2**16):
        writer.write(data)
        await writer.drain()


def hello_of(name: str | None) -> bytes:
    """The first bytes of a real TLS client that asks for `name`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    outgoing = ssl.MemoryBIO()
    session = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with suppress(ssl.SSLWantReadError):
        session.do_handshake()
    return outgoing.read()
