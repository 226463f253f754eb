"""Many tasks at once, and how fast the pool fills again."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

from app.sandbox.executors.bubblewrap import bubblewrap_backends
from app.sandbox.executors.docker import docker_backend
from app.sandbox.executors.pooled import PooledExecutor
from app.sandbox.executors.rooms import Options as Plan
from app.sandbox.executors.rooms import Rooms
from app.sandbox.links import Backend
from app.sandbox.pool import PoolPlan
from bench.sandbox.stage import (
    LIMITS,
    PANDAS,
    BenchError,
    Options,
    filled,
    kept_warm,
    median_ms,
    p95_ms,
    task,
)

Found = dict[str, Any]
_SMALL = "print({n})"
_LARGE = f"n = {{n}}\n{PANDAS}print(n)\n"
_REFILLED = 4


async def burst(options: Options, _before: Mapping[str, Any]) -> Found:
    """Bubblewrap: nothing may be lost or mixed up."""
    name = f"burst_{options.burst}"
    async with kept_warm(bubblewrap_backends()[0], PoolPlan()) as executor:
        found = await _burst(executor, options.burst, _SMALL, name)
        return found | await _burst(executor, options.burst, _LARGE, f"{name}_pandas")


async def docker_burst(options: Options, _before: Mapping[str, Any]) -> Found:
    """The same in containers."""
    async with kept_warm(docker_backend(), PoolPlan()) as executor:
        return await _burst(executor, options.burst, _SMALL, f"docker_burst_{options.burst}")


async def _burst(executor: PooledExecutor, count: int, code: str, name: str) -> Found:
    """All at once, on a pool of the default size that is full."""
    await filled(executor, 1)

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
    right = [each for each in ended if not isinstance(each, BaseException)]
    return {
        f"{name}_p50_ms": median_ms([span for span, _ in right]),
        f"{name}_p95_ms": p95_ms([span for span, _ in right]),
        f"{name}_per_s": count / seconds,
        f"{name}_lost": len(faults),
        f"{name}_warm": sum(is_warm for _, is_warm in right),
    }


async def refill(_options: Options, _before: Mapping[str, Any]) -> Found:
    """Workers made in a second, by what they import beforehand, one at a time."""
    return await _refill(bubblewrap_backends()[0], "bwrap_refill")


async def docker_refill(_options: Options, _before: Mapping[str, Any]) -> Found:
    """The same in containers."""
    return await _refill(docker_backend(), "docker_refill")


async def _refill(backend: Backend, name: str) -> Found:
    known = await backend.capabilities()
    pool = PoolPlan(least=_REFILLED, most=_REFILLED, refills=1, memory_bytes=2**31)
    plan = Plan(LIMITS, pool)
    found: Found = {}
    for wanted in Rooms(plan, None, None).standing(known):
        executor = PooledExecutor(backend, plan)
        executor.pool.open([wanted])
        began = time.perf_counter()
        await filled(executor, _REFILLED)
        found[f"{name}_{wanted.name}_per_s"] = _REFILLED / (time.perf_counter() - began)
        await executor.close()
    return found
