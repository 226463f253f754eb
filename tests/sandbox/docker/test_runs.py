"""Whole tasks on docker: what only an engine can do to them, and what only a cgroup can."""

import ast
import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from app.sandbox import Limits, Options, PoolPlan, Sandbox, Setup, TaskSpec, make_executors
from app.sandbox.executors.docker.orphans import PROCESS_LABEL
from app.sandbox.executors.processes import process_id
from tests.sandbox.docker.conftest import Forwarder
from tests.sandbox.docker.engine import containers, docker, running, until

pytestmark = pytest.mark.anyio

LIMITS = Limits(wall_s=60, cpu_s=30, memory_bytes=2**28, processes=32, tmp_bytes=2**24)
MINE = f"{PROCESS_LABEL}={process_id()}"
SLEEP = "import signal; print('begun', flush=True); signal.pause()"


@pytest.fixture
async def started(forwarder: Forwarder) -> AsyncIterator[Callable[[int], Sandbox]]:
    """A sandbox on docker behind the forwarder, with so many waiting workers."""
    opened = []

    def start(waiting: int) -> Sandbox:
        plan = PoolPlan(least=waiting, most=waiting)
        setup = Setup(options=Options(LIMITS, plan), docker_socket=str(forwarder.path))
        opened.append(Sandbox(make_executors("docker", setup), LIMITS))
        return opened[-1]

    yield start
    for one in opened:
        await one.close()
    await until(lambda: not containers(MINE))


def task(code: str) -> TaskSpec:
    return TaskSpec("task", code, limits=LIMITS)


async def begun() -> str:
    """The container of the one task that runs."""
    found: list[str] = []

    def look() -> bool:
        # that of the self-test may still be there
        found.extend(one for one in running(MINE) if "signal.pause" in _code(one))
        return bool(found)

    await until(look)
    return found[0]


def _code(container: str) -> str:
    try:
        pid = docker("inspect", "--format", "{{.State.Pid}}", container)
        return Path(f"/proc/{pid}/root/task/task.py").read_text(encoding="utf-8")
    except (OSError, subprocess.CalledProcessError):
        return ""


async def test_a_container_killed_mid_run_is_no_fault_of_the_task(
    started: Callable[[int], Sandbox],
) -> None:
    sandbox = started(0)
    assert (await sandbox.start()).available
    run = asyncio.ensure_future(sandbox.run(task(SLEEP)))
    docker("kill", await begun())
    result = await run
    assert result.status == "infra_error"
    assert "killed from outside" in result.stderr


async def test_an_engine_that_goes_away_mid_run_is_no_fault_of_the_task(
    started: Callable[[int], Sandbox], forwarder: Forwarder, monkeypatch: pytest.MonkeyPatch
) -> None:
    # an engine that has to be looked at again is missed before there is a task
    monkeypatch.setattr("app.sandbox.executors.docker.backend._RECHECK_SECONDS", 600)
    sandbox = started(0)
    assert (await sandbox.start()).available
    run = asyncio.ensure_future(sandbox.run(task(SLEEP)))
    container = await begun()
    await forwarder.cut()
    result = await run
    assert result.status == "infra_error"
    # told by the engine, or by the wire if that ended before the code began
    assert result.stderr.startswith("sandbox: ")
    refused = await sandbox.run(task("print(1)"))
    assert refused.status == "infra_error"
    await forwarder.start()
    again = await sandbox.run(task("print(1)"))
    assert (again.status, again.stdout) == ("ok", "1\n")
    await until(lambda: container not in containers(MINE))


async def test_waiting_workers_that_died_with_the_engine_are_passed_over(
    started: Callable[[int], Sandbox], forwarder: Forwarder
) -> None:
    sandbox = started(2)
    assert (await sandbox.start()).available
    await until(lambda: len(running(MINE)) >= 2)
    await forwarder.cut()
    await forwarder.start()
    result = await sandbox.run(task("print('alive')"))
    assert (result.status, result.stdout) == ("ok", "alive\n")


async def test_many_small_processes_together_are_oom(started: Callable[[int], Sandbox]) -> None:
    sandbox = started(0)
    assert (await sandbox.start()).available
    code = """
import os, signal
for _ in range(8):
    if os.fork() == 0:
        data = bytearray(os.urandom(1)) * (120 * 2**20)
        signal.pause()
codes = [os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(1)]
print(codes)
os.kill(os.getpid(), 9)
"""
    result = await sandbox.run(task(code))
    assert (result.status, result.stdout) == ("oom", "[-9]\n")


async def test_files_in_memory_are_counted_and_leave_room_for_the_code(
    started: Callable[[int], Sandbox],
) -> None:
    """Full tmpfs take nothing from the memory that the task was promised."""
    sandbox = started(0)
    assert (await sandbox.start()).available
    code = """
def fill(path):
    try:
        with open(path, "wb", buffering=0) as file:
            while True:
                file.write(bytes(2**20))
    except OSError as error:
        return error.strerror
print(fill("/tmp/f"), fill("/dev/shm/f"), fill("/task/f"), sep="; ")
print(len(bytearray(150 * 2**20)))
"""
    result = await sandbox.run(task(code))
    assert result.status == "ok"
    full = {"No space left on device", "File too large"}
    assert set(result.stdout.splitlines()[0].split("; ")) <= full
    assert result.stdout.splitlines()[1] == str(150 * 2**20)


async def test_inodes_run_out_before_memory_does(started: Callable[[int], Sandbox]) -> None:
    sandbox = started(0)
    assert (await sandbox.start()).available
    code = """
made = 0
try:
    while made < 200_000:
        open(f"/tmp/{made}", "w").close()
        made += 1
except OSError as error:
    print(error.strerror)
print(made)
"""
    result = await sandbox.run(task(code))
    assert result.stdout.splitlines()[0] == "No space left on device"
    assert int(result.stdout.splitlines()[1]) < 16_384


async def test_nothing_else_can_be_written(started: Callable[[int], Sandbox]) -> None:
    sandbox = started(0)
    assert (await sandbox.start()).available
    code = """
import os
found = set()
for folder, folders, names in os.walk("/"):
    if folder.startswith("/proc"):
        continue
    for path in (folder, *(os.path.join(folder, name) for name in names)):
        if not os.path.islink(path) and os.access(path, os.W_OK):
            found.add(path)
devices = {path for path in found if path.startswith("/dev/") and path != "/dev/shm"}
print(sorted(found - devices))
print(sorted(devices))
try:
    open("/dev/mqueue/x", "w")
except OSError as error:
    print(error.strerror)
"""
    lines = (await sandbox.run(task(code))).stdout.splitlines()
    files = {"/dev/shm", "/task", "/task/output", "/task/task.py", "/tmp"}
    assert set(ast.literal_eval(lines[0])) <= files
    usual = {"full", "mqueue", "null", "ptmx", "random", "tty", "urandom", "zero"}
    assert set(ast.literal_eval(lines[1])) <= {f"/dev/{n}" for n in usual} | {"/dev/pts/ptmx"}
    assert lines[2] == "Too many open files"


async def test_localhost_has_a_name_and_nothing_else_has(
    started: Callable[[int], Sandbox],
) -> None:
    sandbox = started(0)
    assert (await sandbox.start()).available
    code = """
import socket
print(socket.gethostbyname("localhost"))
for name in ("example.org", "host.docker.internal"):
    try:
        print(socket.gethostbyname(name))
    except socket.gaierror:
        print("unknown")
"""
    result = await sandbox.run(task(code))
    assert result.stdout == "127.0.0.1\nunknown\nunknown\n"


async def test_one_that_floods_its_output_is_gone_at_once(
    started: Callable[[int], Sandbox],
) -> None:
    """Within the test's time: the engine would wait a minute for somebody to read the rest."""
    sandbox = started(0)
    assert (await sandbox.start()).available
    result = await sandbox.run(task("while True: print('x' * 10_000)"))
    assert result.status == "output_limit"
    await until(lambda: not containers(MINE))
