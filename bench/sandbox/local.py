"""Bubblewrap beside a bare Python, and what a time-out takes."""

import time
from collections.abc import Mapping
from typing import Any

from app.sandbox.executors.bubblewrap import bubblewrap_backends
from app.sandbox.links import Backend
from bench.sandbox.stage import (
    PANDAS,
    SMALL,
    SYSTEM_PYTHON,
    BenchError,
    Options,
    bare,
    both,
    clean_python,
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


def _backend() -> Backend:
    return bubblewrap_backends()[0]


async def bubblewrap(options: Options, _before: Mapping[str, Any]) -> Found:
    """Cold and warm, each in turn with a bare Python."""
    with clean_python() as python:
        async with never_warm(_backend()) as cold, kept_warm(_backend()) as warm:
            spans = await in_turn(
                {
                    "bare": lambda: bare(python),
                    "bare_system": lambda: bare(SYSTEM_PYTHON),
                    "bwrap_cold": lambda: cold.run(SMALL),
                    "bwrap_cold_pandas": lambda: cold.run(PANDAS),
                    "bwrap_warm": lambda: run_warm(warm, PANDAS),
                    "bwrap_warm_empty": lambda: run_warm(warm, SMALL),
                },
                options.runs,
                lambda: filled(warm, 2),
            )
    return _ratios(spans)


def _ratios(spans: Mapping[str, list[float]]) -> Found:
    found: Found = {}
    for name, each in spans.items():
        found |= both(name, each)
    quicker = min(("bare", "bare_system"), key=lambda name: found[f"{name}_ms"])
    bare_ms, bare_p95_ms = found[f"{quicker}_ms"], found[f"{quicker}_p95_ms"]
    return found | {
        "bwrap_cold_over_bare": found["bwrap_cold_ms"] / bare_ms,
        "bwrap_warm_ms_over_bare": found["bwrap_warm_ms"] / bare_ms,
        "bwrap_cold_p95_over_bare_p95": found["bwrap_cold_p95_ms"] / bare_p95_ms,
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
