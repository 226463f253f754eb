"""Tasks on workers that waited: the same walls, no trace of one task in another, never a queue."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest

from app.kernel.errors import AppError, Code
from app.kernel.metrics import Metrics
from app.sandbox import InputFile, IsolationError, Limits, TaskResult, TaskSpec
from app.sandbox.executors.bubblewrap import bubblewrap_backends
from app.sandbox.executors.pooled import PooledExecutor
from app.sandbox.executors.rooms import Options
from app.sandbox.pool import PoolPlan
from app.sandbox.sessions import SessionPlan
from tests.conftest import cannot_run
from tests.manual_clock import ManualClock

pytestmark = pytest.mark.anyio

LIMITS = Limits(wall_s=60, cpu_s=10, memory_bytes=2**30, processes=32, tmp_bytes=32 * 2**20)
# Memory for rooms without imports only: to make the others takes seconds.
PLAN = PoolPlan(least=1, most=3, memory_bytes=40 * 2**20)
_ids = count()


def spec(code: str, **more: object) -> TaskSpec:
    return TaskSpec(f"pooled-{next(_ids)}", code, limits=LIMITS, **more)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def strangers() -> set[int]:
    """Processes of what other modules of tests have open; made before anything of the test's."""
    return {process.pid for process in psutil.Process().children(recursive=True)}


def ours(strangers: set[int]) -> set[int]:
    found = {process.pid for process in psutil.Process().children(recursive=True)}
    return found - strangers


@pytest.fixture
def clock(strangers: set[int]) -> ManualClock:
    return ManualClock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@asynccontextmanager
async def opened(
    clock: ManualClock, metrics: Metrics, plan: PoolPlan = PLAN
) -> AsyncIterator[PooledExecutor]:
    options = Options(LIMITS, plan, SessionPlan(most=3, per_owner=2))
    made = PooledExecutor(bubblewrap_backends()[0], options, clock=clock, metrics=metrics)
    try:
        await made.warm()
    except IsolationError as error:
        cannot_run(error.reason)
    await made.pool.settle()
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
async def executor(clock: ManualClock, metrics: Metrics) -> AsyncIterator[PooledExecutor]:
    async with opened(clock, metrics) as made:
        yield made


async def test_a_task_runs_on_a_worker_that_waited(executor: PooledExecutor) -> None:
    result = await executor.run(spec("print(1 + 1)"))
    assert (result.status, result.stdout, result.is_warm) == ("ok", "2\n", True)
    assert (result.executor, result.level) == ("bubblewrap", "namespaces")


async def test_without_one_it_starts_its_own(executor: PooledExecutor, metrics: Metrics) -> None:
    results = await asyncio.gather(*(executor.run(spec("print(1)")) for _ in range(4)))
    assert {result.status for result in results} == {"ok"}
    assert sorted(result.is_warm for result in results) == [False, False, False, True]
    assert 'sandbox_leases_total{outcome="cold",room="empty"} 3.0' in metrics.render().decode()


async def test_no_task_sees_what_another_left(executor: PooledExecutor) -> None:
    leave = (
        "import builtins, os, json\n"
        "builtins.left = json.left = 'left'\n"
        "os.environ['LEFT'] = 'left'\n"
        "for folder in ('/tmp', '/task', '/task/output', '/dev/shm'):\n"
        "    open(folder + '/left', 'w').close()\n"
    )
    look = (
        "import builtins, os, json\n"
        "print(hasattr(builtins, 'left'), hasattr(json, 'left'), 'LEFT' in os.environ,\n"
        "  [f for f in ('/tmp', '/task', '/task/output', '/dev/shm') if 'left' in os.listdir(f)])\n"
    )
    for _ in range(3):
        first = await executor.run(spec(leave))
        await executor.pool.settle()
        second = await executor.run(spec(look))
        await executor.pool.settle()
        assert (first.is_warm, second.is_warm) == (True, True)
        assert second.stdout == "False False False []\n"


async def test_modules_are_there_before_the_code(clock: ManualClock, metrics: Metrics) -> None:
    code = "import sys\nprint('numpy' in sys.modules)\nimport numpy\nprint(numpy.ones(3).sum())"
    async with opened(clock, metrics, PoolPlan(least=1, most=1)) as executor:
        if "science" not in executor.pool.waiting():
            cannot_run("numpy and the like are not installed")
        result = await executor.run(spec(code))
        assert (result.stdout, result.is_warm) == ("True\n3.0\n", True)
        result = await executor.run(spec("import sys; print('numpy' in sys.modules)"))
        assert result.stdout == "False\n"


async def test_other_limits_get_a_sandbox_of_their_own(executor: PooledExecutor) -> None:
    code = "import os\nroom = os.statvfs('/tmp')\nprint(room.f_blocks * room.f_frsize)"
    task = spec(code)
    assert (await executor.run(task)).stdout == f"{32 * 2**20}\n"
    small = replace(task, limits=replace(LIMITS, tmp_bytes=2**20))
    result = await executor.run(small)
    assert (result.stdout, result.is_warm) == (f"{2**20}\n", False)


async def test_a_worker_that_died_while_it_waited_is_passed_over(
    executor: PooledExecutor, strangers: set[int]
) -> None:
    waiting = ours(strangers)
    assert waiting
    for pid in waiting:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    result = await executor.run(spec("print('alive')"))
    assert (result.status, result.stdout) == ("ok", "alive\n")
    await executor.pool.settle()
    result = await executor.run(spec("print('again')"))
    assert (result.stdout, result.is_warm) == ("again\n", True)


async def test_old_workers_are_replaced(
    executor: PooledExecutor, clock: ManualClock, strangers: set[int]
) -> None:
    before = ours(strangers)
    clock.advance(PLAN.idle_s)
    await executor.pool.settle()
    assert before
    assert not before & ours(strangers)
    assert (await executor.run(spec("print(1)"))).is_warm


async def test_at_its_end_nothing_runs(executor: PooledExecutor, strangers: set[int]) -> None:
    await executor.run(spec("x = 1", session_id="s", owner="alice"))
    endless = asyncio.create_task(executor.run(spec("while True: pass")))
    await asyncio.sleep(0)
    await executor.pool.settle()
    await executor.close()
    assert (await endless).status == "killed"
    assert ours(strangers) == set()


async def test_a_task_that_comes_while_it_closes_is_killed(
    executor: PooledExecutor, strangers: set[int]
) -> None:
    await executor.run(spec("x = 1", session_id="s", owner="alice"))
    # heard only after the first step of the closing
    late = asyncio.create_task(executor.run(spec("while True: pass")))
    await executor.close()
    assert (await late).status == "killed"
    assert ours(strangers) == set()


async def in_session(
    executor: PooledExecutor, code: str, session_id: str = "s", owner: str = "alice", **more: object
) -> TaskResult:
    return await executor.run(spec(code, session_id=session_id, owner=owner, **more))


async def test_a_session_keeps_its_variables(executor: PooledExecutor) -> None:
    first = await in_session(executor, "x = 20\nimport math")
    second = await in_session(executor, "x += 1\nprint(x, math.floor(1.5))\nx")
    assert (first.status, first.session_runs) == ("ok", 1)
    assert (second.status, second.session_runs) == ("ok", 2)
    assert (second.stdout, second.value) == ("21 1\n", "21")


async def test_an_error_leaves_the_session_alive(executor: PooledExecutor) -> None:
    await in_session(executor, "x = 1")
    assert (await in_session(executor, "raise ValueError")).status == "error"
    assert (await in_session(executor, "print(x)")).stdout == "1\n"


async def test_sessions_are_apart(executor: PooledExecutor) -> None:
    await in_session(executor, "x = 1", owner="alice")
    assert (await in_session(executor, "print(x)", owner="bob")).status == "error"
    assert (await in_session(executor, "print(x)", session_id="other")).status == "error"
    assert (await executor.run(spec("print(x)"))).status == "error"
    assert (await in_session(executor, "print(x)", owner="alice")).stdout == "1\n"


async def test_a_task_that_takes_too_long_ends_its_session(executor: PooledExecutor) -> None:
    await in_session(executor, "x = 1")
    task = spec("while True: pass", session_id="s", owner="alice")
    result = await executor.run(replace(task, limits=replace(LIMITS, wall_s=0.5)))
    assert result.status == "timeout"
    with pytest.raises(AppError) as caught:
        await in_session(executor, "print(x)")
    assert caught.value.code is Code.SANDBOX_SESSION_ENDED
    assert "timeout" in caught.value.message
    assert (await in_session(executor, "print(1)", session_id="next")).status == "ok"


async def test_a_python_that_leaves_ends_its_session(executor: PooledExecutor) -> None:
    await in_session(executor, "import os; os._exit(3)")
    with pytest.raises(AppError) as caught:
        await in_session(executor, "1")
    assert caught.value.code is Code.SANDBOX_SESSION_ENDED


async def test_a_session_does_one_task_at_a_time(executor: PooledExecutor) -> None:
    await in_session(executor, "import time")
    task = spec("while True: time.sleep(0.1)", session_id="s", owner="alice")
    running = asyncio.create_task(executor.run(task))
    await asyncio.sleep(0)
    with pytest.raises(AppError) as caught:
        await in_session(executor, "1")
    assert caught.value.code is Code.SANDBOX_SESSION_BUSY
    while not running.done():
        await executor.cancel(task.task_id)
        await asyncio.sleep(0.01)
    assert (await running).status == "killed"


async def test_an_idle_session_ends(executor: PooledExecutor, clock: ManualClock) -> None:
    await in_session(executor, "x = 1")
    clock.advance(600)
    with pytest.raises(AppError) as caught:
        await in_session(executor, "x")
    assert caught.value.code is Code.SANDBOX_SESSION_ENDED


async def test_a_task_that_cannot_begin_costs_no_session(executor: PooledExecutor) -> None:
    missing = (InputFile("a", Path("/nonexistent/file")),)
    with pytest.raises(AppError):
        await in_session(executor, "1", input_files=missing)
    assert (await in_session(executor, "x = 5")).session_runs == 1
    with pytest.raises(AppError):
        await in_session(executor, "1", input_files=missing)
    assert (await in_session(executor, "print(x)")).stdout == "5\n"


async def test_a_session_keeps_the_packages_it_began_with(executor: PooledExecutor) -> None:
    await in_session(executor, "1")
    with pytest.raises(AppError) as caught:
        await in_session(executor, "1", requirements=("packaging",))
    assert caught.value.code is Code.INVALID_INPUT


async def test_what_is_not_installed_is_refused(executor: PooledExecutor) -> None:
    with pytest.raises(AppError) as caught:
        await executor.run(spec("1", requirements=("no-such-package",)))
    assert caught.value.code is Code.SANDBOX_REQUIREMENT_UNKNOWN


async def test_without_policies_there_is_no_way_out(executor: PooledExecutor) -> None:
    with pytest.raises(AppError) as caught:
        await executor.run(spec("1", egress="bio"))
    assert caught.value.code is Code.INVALID_INPUT
