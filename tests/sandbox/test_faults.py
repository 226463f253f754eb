"""A server that dies takes its sandboxes along; a run that is abandoned leaves nothing behind."""

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from app.sandbox import Sandbox, TaskSpec

pytestmark = pytest.mark.anyio

SERVER = """
import asyncio, sys
from app.sandbox import Sandbox, TaskSpec, make_executors
async def main():
    sandbox = Sandbox(make_executors(sys.argv[1]))
    await sandbox.start()
    await sandbox.run(TaskSpec("long", sys.argv[2]))
asyncio.run(main())
"""


def sleeper() -> tuple[str, str]:
    """Code that becomes a process the host can recognise, and the text to recognise it by."""
    mark = f"86400.{secrets.randbelow(10**9):09}"
    return mark, f"import os; os.execvp('sleep', ['sleep', '{mark}'])"


def is_running(mark: str) -> bool:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[:2] == [b"sleep", mark.encode()]:
            return True
    return False


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_a_killed_server_leaves_no_sandbox(sandbox: Sandbox) -> None:
    name = sandbox.status().executor or ""
    mark, code = sleeper()
    with subprocess.Popen([sys.executable, "-c", SERVER, name, code], cwd=Path.cwd()) as server:
        try:
            await until(lambda: is_running(mark))
        finally:
            os.kill(server.pid, signal.SIGKILL)
    await until(lambda: not is_running(mark))


async def test_an_abandoned_run_is_killed(sandbox: Sandbox) -> None:
    mark, code = sleeper()
    running = asyncio.ensure_future(sandbox.run(TaskSpec("abandoned", code)))
    await until(lambda: is_running(mark))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await until(lambda: not is_running(mark))


async def test_cancel_at_any_moment_leaves_nothing(sandbox: Sandbox) -> None:
    async def cancelled_after(seconds: float, task_id: str) -> tuple[str, str]:
        mark, code = sleeper()
        running = asyncio.ensure_future(sandbox.run(TaskSpec(task_id, code)))
        await asyncio.sleep(seconds)
        while not running.done():
            await sandbox.cancel(task_id)
            await asyncio.sleep(0.002)
        return mark, (await running).status

    for moment in range(0, 100, 4):
        mark, status = await cancelled_after(moment / 1000, f"moment-{moment}")
        assert status == "killed"
        await until(lambda seen=mark: not is_running(seen))  # type: ignore[misc]
