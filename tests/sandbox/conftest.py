"""The executors under test: every registered one, or the reason why it cannot run here."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from app.kernel.settings import Settings
from app.sandbox import (
    AUTO,
    InputFile,
    Limits,
    Options,
    PooledExecutor,
    PoolPlan,
    Sandbox,
    Setup,
    TaskResult,
    TaskSpec,
    make_executors,
)
from app.sandbox.executors.kubernetes import site_of
from tests.conftest import cannot_run
from tests.sandbox.docker.engine import need_docker, using_engine

SMALL = Limits(wall_s=60, cpu_s=10, memory_bytes=2**30, processes=32, tmp_bytes=32 * 2**20)

Run = Callable[..., Awaitable[TaskResult]]
Settle = Callable[[], Awaitable[None]]


WAYS = [f"{name}{how}" for name in (*AUTO, "kubernetes") for how in ("", "-warm")]


@pytest.fixture(scope="module", params=WAYS)
async def sandbox(request: pytest.FixtureRequest, anyio_backend: str) -> AsyncIterator[Sandbox]:
    """Each executor twice: with a sandbox of its own for every task, and with ones that waited."""
    name, _, is_warm = request.param.partition("-")
    pool = PoolPlan(least=2, most=4) if is_warm else PoolPlan(least=0, most=0)
    if name == "docker":
        need_docker()
    setup = Setup(options=Options(SMALL, pool), site=site_of(Settings()))
    opened = Sandbox(make_executors(name, setup))
    with using_engine():
        status = await opened.start()
    if not status.available:
        # or it is tested again, and again, beside other tests
        await opened.close()
        cannot_run(f"{name}: {status.reason} {status.hint}")
    yield opened
    await opened.close()


@pytest.fixture(autouse=True)
def engine_held(request: pytest.FixtureRequest) -> Iterator[None]:
    """Nobody restarts the engine under a test that uses it."""
    if "docker" not in request.node.name.partition("[")[2]:
        yield
        return
    with using_engine():
        yield


@pytest.fixture
def settle(sandbox: Sandbox) -> Settle:
    """Wait until nothing of ended tasks is left and the pool is as full as it is to be."""

    async def settled() -> None:
        assert sandbox._chosen is not None
        assert isinstance(sandbox._chosen.executor, PooledExecutor)
        await sandbox._chosen.executor.settle()

    return settled


async def timed_out(run: Callable[[float], Awaitable[TaskResult]], wall_s: float) -> TaskResult:
    """What came of a task that only its wall time ends, after it has printed something.

    How soon it does so is up to the machine: one that was ended before that gets more time.
    """
    while True:
        result = await run(wall_s)
        assert result.status == "timeout", result
        if result.stdout or wall_s > SMALL.wall_s / 4:
            return result
        wall_s *= 4


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
