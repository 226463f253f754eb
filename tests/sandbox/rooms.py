"""Workers of the bubblewrap backend for tests that speak with one directly."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from app.sandbox import IsolationError, Limits, TaskSpec
from app.sandbox.executors.bubblewrap import BubblewrapBackend, bubblewrap_backends
from app.sandbox.executors.bubblewrap.link import BubblewrapLink
from app.sandbox.executors.worker import Worker
from app.sandbox.links import Room
from tests.conftest import cannot_run

LIMITS = Limits(wall_s=60, cpu_s=10, memory_bytes=2**30, processes=32, tmp_bytes=32 * 2**20)


async def standing_backend() -> BubblewrapBackend:
    """The first that can make a sandbox; the test is skipped with the reasons if none can."""
    reasons = []
    for backend in bubblewrap_backends():
        try:
            async with working(backend):
                return backend
        except IsolationError as error:
            reasons.append(error.reason)
            await backend.close()
    cannot_run(" ".join(reasons))
    raise AssertionError


@asynccontextmanager
async def working(backend: BubblewrapBackend, room: Room | None = None) -> AsyncIterator[Worker]:
    """A started worker, killed at the end."""
    async with linked(backend, room) as (worker, _):
        yield worker


@asynccontextmanager
async def linked(
    backend: BubblewrapBackend, room: Room | None = None
) -> AsyncIterator[tuple[Worker, BubblewrapLink]]:
    """As `working`, with the worker's link."""
    room = room or Room(LIMITS)
    link = await backend.launch(room)
    worker = Worker(link, room, await backend.head())
    try:
        await worker.start()
        yield worker, link
    finally:
        await worker.kill()


def task(code: str, session: str | None = None, limits: Limits = LIMITS) -> TaskSpec:
    """A task of a session, or a single one."""
    return TaskSpec("task", code, limits=limits, session_id=session)


def descendants(pid: int) -> list[int]:
    """The processes below one, nearest first."""
    found = [pid]
    for each in found:
        for path in Path(f"/proc/{each}/task").glob("*/children"):
            # a thread may end between the two
            with suppress(OSError):
                found += map(int, path.read_text(encoding="ascii").split())
    return found[1:]


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what comes about by itself, for some time at most."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
