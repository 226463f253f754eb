"""A backend on the real engine, and a way to take that engine away from it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from app.sandbox.executors.docker import DockerBackend
from app.sandbox.executors.docker.link import DockerLink
from app.sandbox.links import Room
from app.sandbox.types import Limits
from tests.sandbox.docker.engine import SOCKET, need_docker, using_engine

SMALL = Limits(
    wall_s=20, cpu_s=10, memory_bytes=2**28, processes=16, tmp_bytes=8 * 2**20,
    output_bytes=2**20,
)  # fmt: skip
ROOM = Room(limits=SMALL, work_bytes=16 * 2**20)


@pytest.fixture
def engine() -> Iterator[None]:
    """The engine with the image, for as long as the test runs."""
    need_docker()
    with using_engine():
        yield


@pytest.fixture
async def backend(engine: None) -> AsyncIterator[DockerBackend]:
    opened = DockerBackend()
    yield opened
    await opened.close()


@pytest.fixture
async def link(backend: DockerBackend) -> AsyncIterator[DockerLink]:
    """One started sandbox, spoken to by nobody."""
    started = await backend.launch(ROOM)
    yield started
    await started.kill()


class Forwarder:
    """A socket in front of the engine's, so that the engine can be gone for one backend alone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self.path)

    async def cut(self) -> None:
        """Hang up on everybody, and take no more calls."""
        if self._server:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        self.path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        inner_reader, inner_writer = await asyncio.open_unix_connection(SOCKET)
        self._writers.add(inner_writer)
        await asyncio.gather(_copy(reader, inner_writer), _copy(inner_reader, writer))
        self._writers -= {writer, inner_writer}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.fixture
async def forwarder(engine: None, tmp_path: Path) -> AsyncIterator[Forwarder]:
    opened = Forwarder(tmp_path / "docker.sock")
    await opened.start()
    yield opened
    await opened.cut()
