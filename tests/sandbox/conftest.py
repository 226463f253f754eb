"""The executors under test: every registered one, or the reason why it cannot run here."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from app.sandbox import EXECUTORS, InputFile, Limits, Sandbox, TaskResult, TaskSpec, make_executors
from tests.conftest import cannot_run

SMALL = Limits(wall_s=20, cpu_s=10, memory_bytes=2**30, processes=32, tmp_bytes=32 * 2**20)

Run = Callable[..., Awaitable[TaskResult]]


@pytest.fixture(scope="session", params=sorted(EXECUTORS))
async def sandbox(request: pytest.FixtureRequest, anyio_backend: str) -> AsyncIterator[Sandbox]:
    opened = Sandbox(make_executors(request.param))
    status = await opened.start()
    if not status.available:
        cannot_run(f"{request.param}: {status.reason} {status.hint}")
    yield opened
    await opened.close()


@pytest.fixture
def run(sandbox: Sandbox) -> Run:
    """Run code: `await run(code, inputs={name: path}, wall_s=..., and any other limit)`."""
    ids = count()

    def start(
        code: str,
        inputs: dict[str, Path] | None = None,
        requirements: tuple[str, ...] = (),
        **limits: float,
    ) -> Awaitable[TaskResult]:
        files = tuple(InputFile(name, path) for name, path in (inputs or {}).items())
        asked = replace(SMALL, **limits)  # type: ignore[arg-type]
        return sandbox.run(TaskSpec(f"task-{next(ids)}", code, requirements, files, asked))

    return start
