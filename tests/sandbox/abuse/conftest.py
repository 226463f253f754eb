"""The targets of the attacks and the means of every scenario."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from app.kernel.settings import Settings
from app.sandbox import (
    Capabilities,
    Limits,
    Options,
    PoolPlan,
    Sandbox,
    Setup,
    TaskResult,
    TaskSpec,
    make_executors,
)
from app.sandbox.executors.kubernetes import site_of
from app.sandbox.furnishing import Egress
from tests.conftest import cannot_run
from tests.sandbox.abuse.attacks import ROWS
from tests.sandbox.abuse.host import Host, opened
from tests.sandbox.abuse.matrix import note
from tests.sandbox.abuse.prelude import program
from tests.sandbox.docker.engine import need_docker, using_engine

USUAL = Limits(wall_s=60)
Run = Callable[..., Awaitable[TaskResult]]
Seen = Callable[..., None]
Attack = Callable[..., str]


def scenario_outcome(name: str) -> str:
    """What it is called when the test of this row's name passes."""
    return next(row.outcome for row in ROWS if row.name == name)


@asynccontextmanager
async def started(name: str, egress: Egress | None = None) -> AsyncIterator[Sandbox]:
    """A sandbox on the executor of that name, with workers that wait; skips where it cannot be."""
    if name == "docker":
        need_docker()
    options = Options(USUAL, PoolPlan(least=2, most=4))
    setup = Setup(options=options, site=site_of(Settings()), egress=egress)
    sandbox = Sandbox(make_executors(name, setup), USUAL)
    try:
        status = await sandbox.start()
        if not status.available:
            cannot_run(f"{name}: {status.reason} {status.hint}")
        yield sandbox
    finally:
        await sandbox.close()


@pytest.fixture(scope="module", params=["bubblewrap", "docker", "kubernetes"])
async def sandbox(request: pytest.FixtureRequest, anyio_backend: str) -> AsyncIterator[Sandbox]:
    async with AsyncExitStack() as stack:
        # nobody restarts Docker's engine meanwhile; each test holds it for itself
        with using_engine() if request.param == "docker" else nullcontext():
            opened = await stack.enter_async_context(started(request.param))
        yield opened


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with opened(tmp_path) as targets:
        yield targets


@pytest.fixture
def run(sandbox: Sandbox) -> Run:
    """Run code: `await run(code, requirements=..., wall_s=..., and any other limit)`.

    The limits are the usual ones, so that a worker that waits does for it.
    """
    ids = count()

    def start(
        code: str, requirements: tuple[str, ...] = (), **limits: float
    ) -> Awaitable[TaskResult]:
        asked = replace(USUAL, **limits)  # type: ignore[arg-type]
        return sandbox.run(TaskSpec(f"task-{next(ids)}", code, requirements, limits=asked))

    return start


@pytest.fixture
def capabilities(sandbox: Sandbox) -> Capabilities:
    return sandbox.capabilities()


@pytest.fixture
def attack(host: Host) -> Attack:
    """The source of an attack: `attack(code, any=parameter)`; its processes have the mark."""

    def source(code: str, **params: Any) -> str:
        return program(code, {"mark": host.mark, **params})

    return source


@pytest.fixture
def seen(request: pytest.FixtureRequest, capabilities: Capabilities) -> Seen:
    """Put the outcome of a scenario, a test of its row's name, into the matrix."""
    name = request.function.__name__.removeprefix("test_")

    def write() -> None:
        note(name, capabilities, scenario_outcome(name))

    return write
