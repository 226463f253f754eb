"""What the figures share: turns, medians, and executors that are kept warm or never are."""

import asyncio
import contextlib
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

from app.sandbox import Limits, TaskResult, TaskSpec
from app.sandbox.executors.pooled import PooledExecutor
from app.sandbox.executors.rooms import Options as Plan
from app.sandbox.links import Backend
from app.sandbox.pool import PoolPlan
from bench.figures import tell

SMALL = "print(1)"
PANDAS = """\
import pandas as pd
print(int(pd.DataFrame({"a": range(10)}).a.sum()))
"""
ANSWERS = {SMALL: "1\n", PANDAS: "45\n"}
LIMITS = Limits(wall_s=60)
_FILL_S = 60.0
_POLL_S = 0.005

Work = Callable[[], Awaitable[float]]
ids = count()


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked for; times in seconds."""

    runs: int = 30
    burst: int = 100
    pause: float = 0.1


class BenchError(Exception):
    """A run did not do what it was to do, so its time means nothing."""


def median_ms(spans: Sequence[float]) -> float:
    """The median, in ms."""
    return 1000 * statistics.median(spans)


def p95_ms(spans: Sequence[float]) -> float:
    """The 95th percentile (nearest rank), in ms."""
    return 1000 * sorted(spans)[math.ceil(0.95 * len(spans)) - 1]


async def in_turn(
    works: Mapping[str, Work], runs: int, settled: Callable[[], Awaitable[None]] | None = None
) -> dict[str, list[float]]:
    """The spans of each, taken in turn so that all meet the same machine; the first are left out.

    Each piece of work says itself how long it took, in seconds. `settled` is waited for before
    each, so that nothing of the last one goes on beside it.
    """
    spans: dict[str, list[float]] = {name: [] for name in works}
    for number in range(runs + 1):
        for name, work in works.items():
            if settled is not None:
                await settled()
            span = await work()
            if number:
                spans[name].append(span)
    for name, found in spans.items():
        tell(f"  {name}: {median_ms(found):.2f} ms, p95 {p95_ms(found):.2f} ms")
    return spans


def both(name: str, spans: Sequence[float]) -> dict[str, float]:
    """`name_ms` and `name_p95_ms`."""
    return {f"{name}_ms": median_ms(spans), f"{name}_p95_ms": p95_ms(spans)}


SYSTEM_PYTHON = "/usr/bin/python3"


@contextlib.contextmanager
def clean_python() -> Iterator[str]:
    """The interpreter that the sandbox runs, in an empty environment of its own.

    Start-up files of packages that happen to be installed beside it would only slow it down.
    """
    with tempfile.TemporaryDirectory(prefix="uaol-bench-") as folder:
        base = str(Path(sys.executable).resolve())
        subprocess.run([base, "-m", "venv", "--without-pip", folder], check=True)
        yield f"{folder}/bin/python"


async def bare(python: str) -> float:
    """A plain subprocess of an interpreter, which prints."""
    return plain(python, "-I", "-c", SMALL)


def plain(*command: str) -> float:
    """Seconds that a command takes which prints `1`."""
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    span = time.perf_counter() - began
    if done.stdout != ANSWERS[SMALL]:
        raise BenchError(f"{command[0]} failed: {done.stderr[-300:]}")
    return span


class Cold:
    """An executor without waiting workers: each task starts its own sandbox."""

    def __init__(self, backend: Backend) -> None:
        self._executor = PooledExecutor(backend, Plan(LIMITS, PoolPlan(least=0, most=0)))

    async def run(self, code: str) -> float:
        """Seconds from the call until the result is there and the sandbox is gone."""
        began = time.perf_counter()
        result = await self._executor.run(task(code))
        await self._executor.settle()
        span = time.perf_counter() - began
        check(result, ANSWERS[code])
        return span

    async def close(self) -> None:
        """End it."""
        await self._executor.close()


@contextlib.asynccontextmanager
async def never_warm(backend: Backend) -> AsyncIterator[Cold]:
    """An executor whose every task is cold."""
    cold = Cold(backend)
    try:
        yield cold
    finally:
        await cold.close()


@contextlib.asynccontextmanager
async def kept_warm(
    backend: Backend, plan: PoolPlan | None = None
) -> AsyncIterator[PooledExecutor]:
    """An executor whose workers wait."""
    executor = PooledExecutor(backend, Plan(LIMITS, plan or PoolPlan(least=2, most=4)))
    await executor.warm()
    try:
        yield executor
    finally:
        await executor.close()


async def filled(executor: PooledExecutor, least: int) -> None:
    """Wait until each kind of room has so many workers and none is being made or put away."""
    deadline = time.monotonic() + _FILL_S
    while min(executor.pool.waiting().values(), default=0) < least:
        if time.monotonic() > deadline:
            raise BenchError(f"the pool is not full: {executor.pool.waiting()}")
        await asyncio.sleep(_POLL_S)
    await executor.settle()


def task(code: str, **limits: Any) -> TaskSpec:
    """A new task."""
    return TaskSpec(f"bench-{next(ids)}", code, limits=replace(LIMITS, **limits))


async def run_warm(executor: PooledExecutor, code: str) -> float:
    """Seconds from the call to the result of a worker that waited."""
    began = time.perf_counter()
    result = await executor.run(task(code))
    span = time.perf_counter() - began
    check(result, ANSWERS[code])
    if not result.is_warm:
        raise BenchError("no worker waited")
    return span


def check(result: TaskResult, stdout: str) -> None:
    """Raise unless the task ended well and printed that."""
    if (result.status, result.stdout) != ("ok", stdout):
        raise BenchError(f"{result.status}: {result.stdout[-200:]} {result.stderr[-300:]}")
