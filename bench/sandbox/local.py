"""Bubblewrap beside a bare Python, and both executors under time-out and burst."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from app.sandbox.executors.bubblewrap import bubblewrap_backends
from app.sandbox.executors.pooled import PooledExecutor
from app.sandbox.links import Backend
from app.sandbox.pool import PoolPlan
from bench.sandbox.stage import (
    PANDAS,
    SMALL,
    BenchError,
    Options,
    bare,
    both,
    filled,
    in_turn,
    kept_warm,
    median_ms,
    never_warm,
    p95_ms,
    run_warm,
    task,
)

Found = dict[str, Any]
_WALL_S = 0.5
_STUBBORN = """\
import signal
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)
while True:
    pass
"""
_REFILLED = 6


def _backend() -> Backend:
    return bubblewrap_backends()[0]


async def bubblewrap(options: Options, _before: Mapping[str, Any]) -> Found:
    """Cold and warm, each in turn with a bare Python."""
    async with never_warm(_backend()) as cold, kept_warm(_backend()) as warm:
        spans = await in_turn(
            {
                "bare": bare,
                "bwrap_cold": lambda: cold.run(SMALL),
                "bwrap_cold_pandas": lambda: cold.run(PANDAS),
                "bwrap_warm": lambda: run_warm(warm, PANDAS),
                "bwrap_warm_empty": lambda: run_warm(warm, SMALL),
            },
            options.runs,
            lambda: filled(warm, 2),
        )
    found: Found = {}
    for name, each in spans.items():
        found |= both(name, each)
    bare_ms = found["bare_ms"]
    return found | {
        "bwrap_cold_over_bare": found["bwrap_cold_ms"] / bare_ms,
        "bwrap_warm_ms_over_bare": found["bwrap_warm_ms"] / bare_ms,
        "bwrap_cold_p95_over_bare_p95": found["bwrap_cold_p95_ms"] / found["bare_p95_ms"],
        "bwrap_warm_p95_over_bare": found["bwrap_warm_p95_ms"] / bare_ms,
    }


async def overshoot(options: Options, _before: Mapping[str, Any]) -> Found:
    """Seconds past its wall time until the result of code that ignores every signal is there.

    Counted from the call, so that the start is in it.
    """
    spans = []
    async with kept_warm(_backend()) as executor:
        for _ in range(options.runs):
            await filled(executor, 1)
            began = time.perf_counter()
            result = await executor.run(task(_STUBBORN, wall_s=_WALL_S))
            spans.append(time.perf_counter() - began - _WALL_S)
            if result.status != "timeout":
                raise BenchError(f"{result.status} instead of timeout")
    return {
        "timeout_overshoot_s": median_ms(spans) / 1000,
        "timeout_overshoot_p95_s": p95_ms(spans) / 1000,
    }


async def burst(options: Options, _before: Mapping[str, Any]) -> Found:
    """All at once on a pool of the default size: nothing may be lost or mixed up."""
    async with kept_warm(_backend(), PoolPlan()) as executor:
        found: Found = {}
        for name, code in (("", "print({n})"), ("_pandas", f"n = {{n}}\n{PANDAS}print(n)")):
            await filled(executor, 1)
            found |= await _burst(executor, options.burst, code, f"burst_{options.burst}{name}")
    return found


async def _burst(executor: PooledExecutor, count: int, code: str, name: str) -> Found:
    async def one(number: int) -> tuple[float, bool]:
        result = await executor.run(task(code.replace("{n}", str(number))))
        lines = result.stdout.splitlines()
        if not lines or lines[-1] != str(number):
            raise BenchError(f"{number}: {result.status} {result.stdout!r} {result.stderr[-300:]}")
        return time.perf_counter() - began, result.is_warm

    began = time.perf_counter()
    ended = await asyncio.gather(*map(one, range(count)), return_exceptions=True)
    seconds = time.perf_counter() - began
    faults = [each for each in ended if isinstance(each, BaseException)]
    if faults:
        raise BenchError(f"{len(faults)} of {count} were lost: {faults[0]}")
    spans = [each[0] for each in ended if not isinstance(each, BaseException)]
    return {
        f"{name}_p50_ms": median_ms(spans),
        f"{name}_p95_ms": p95_ms(spans),
        f"{name}_per_s": count / seconds,
        f"{name}_lost": len(faults),
        f"{name}_warm": sum(1 for each in ended if not isinstance(each, BaseException) and each[1]),
    }


async def refill(_options: Options, _before: Mapping[str, Any]) -> Found:
    """Workers made in a second, one at a time and as many as there are processors at a time."""
    found: Found = {}
    for name, refills in (("", 1), ("_two_at_once", 2)):
        plan = PoolPlan(least=_REFILLED, most=_REFILLED, refills=refills, memory_bytes=2**31)
        found |= await _refill(_backend(), plan, f"bwrap_refill{name}")
    return found


async def _refill(backend: Backend, plan: PoolPlan, name: str) -> Found:
    await backend.capabilities()
    async with kept_warm(backend, plan) as executor:
        began = time.perf_counter()
        await filled(executor, plan.least)
        seconds = time.perf_counter() - began
        made = sum(executor.pool.waiting().values())
    return {f"{name}_per_s": made / seconds}
