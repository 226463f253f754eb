"""The same task on every runtime that the engine has: the level is told, the walls stand."""

import shutil
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from app.sandbox import Limits, Options, PoolPlan, Sandbox, Setup, TaskSpec, make_executors
from tests.conftest import cannot_run
from tests.sandbox.docker.engine import runtimes

pytestmark = pytest.mark.anyio

LIMITS = Limits(wall_s=60, cpu_s=30, processes=32, memory_bytes=2**29, tmp_bytes=2**24)
RUNTIMES = {"runc": "container", "runsc": "gvisor"}


@pytest.fixture(params=RUNTIMES)
async def sandbox(request: pytest.FixtureRequest, engine: None) -> AsyncIterator[Sandbox]:
    if shutil.which(request.param) is None:
        cannot_run(f"{request.param} is not installed: run tests/system_packages.sh as root")
    if request.param not in runtimes():
        cannot_run("this engine does not know runsc: tests/docker_engine.sh says how to tell it")
    setup = Setup(options=Options(LIMITS, PoolPlan(least=0, most=0)), runtime=request.param)
    opened = Sandbox(make_executors("docker", setup), LIMITS)
    status = await opened.start()
    assert status.available, status.reason
    yield opened
    await opened.close()


def task(code: str) -> TaskSpec:
    return TaskSpec("task", code, limits=LIMITS)


async def test_a_task_runs_and_its_level_is_told(sandbox: Sandbox) -> None:
    runtime = next(
        name for name, level in RUNTIMES.items() if level == sandbox.capabilities().level
    )
    result = await sandbox.run(task("import numpy\nprint(numpy.arange(4).sum())\n40 + 2"))
    assert (result.status, result.stdout, result.value) == ("ok", "6\n", "42")
    assert (result.executor, result.level) == ("docker", RUNTIMES[runtime])


async def test_what_is_not_exact_is_declared(sandbox: Sandbox) -> None:
    known = sandbox.capabilities()
    assert ("processes" in known.best_effort) == (known.level != "container")


async def test_a_child_that_ends_by_any_means_is_noticed(sandbox: Sandbox) -> None:
    for code, status, exit_code in (
        ("import os; os._exit(3)", "error", 3),
        ("import os; os.kill(os.getpid(), 11)", "error", -11),
        ("raise SystemExit(0)", "ok", 0),
    ):
        result = await sandbox.run(task(code))
        assert (result.status, result.exit_code) == (status, exit_code)


async def test_there_is_no_network_and_no_way_to_write_the_root(sandbox: Sandbox) -> None:
    code = """
import socket
try:
    socket.create_connection(("8.8.8.8", 53), timeout=2)
except OSError as error:
    print(type(error).__name__)
for path in ("/x", "/usr/x", "/etc/x"):
    try:
        open(path, "w")
    except OSError as error:
        print(error.strerror)
"""
    lines = (await sandbox.run(task(code))).stdout.splitlines()
    assert lines[0] in ("OSError", "ConnectionRefusedError")
    assert len(lines) == 4
    assert set(lines[1:]) <= {"Permission denied", "Read-only file system"}


async def test_a_task_that_does_not_end_is_ended(sandbox: Sandbox) -> None:
    spec = TaskSpec("task", "import signal; signal.pause()", limits=replace(LIMITS, wall_s=2))
    assert (await sandbox.run(spec)).status == "timeout"
