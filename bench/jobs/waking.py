"""Idle wake-up: one job at a time, 20 a second, for a worker in another process that has nothing
to do. The tool itself notes when it starts; both processes read CLOCK_MONOTONIC. The span begins
before the submit is called, so it holds the enqueue's own commit, too.
"""

import asyncio
import random
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import uvloop

from app.proxy import RawResult
from bench.jobs.load import job
from bench.jobs.spans import spread_ms
from bench.jobs.stage import Options, Rig, stage

_RATE = 20
_MAX_S = 30.0
_WARM = 20
_SEED = 20


async def timed(_call: Any, _arguments: Any) -> RawResult:
    """Says when it was called."""
    return RawResult({"at": time.monotonic()})


def wake_up(options: Options, _found: Mapping[str, Any]) -> dict[str, Any]:
    """`wake_p50_ms` and `wake_p95_ms`."""

    async def run() -> dict[str, Any]:
        with stage() as place:
            async with Rig.over(place, options, handler=timed) as rig:
                count = _WARM + round(_RATE * min(options.seconds, _MAX_S))
                marks = await _submit(rig, count)
                await rig.settle()
                return await _spans(rig, marks)

    found: dict[str, Any] = uvloop.run(run())
    return found


async def _submit(rig: Rig, count: int) -> list[tuple[UUID, float, float]]:
    """The jobs with the moments before and after their submits."""
    # Uneven steps, so that no timer of the platform's beats with them.
    steps, marks = random.Random(_SEED), []
    for number in range(count):
        await asyncio.sleep(steps.uniform(0.5, 1.5) / _RATE)
        before = time.monotonic()
        made = await rig.made.intake.submit(job(rig.users[number % len(rig.users)], number))
        marks.append((made.job.job_id, before, time.monotonic()))
        rig.submitted += 1
    return marks[_WARM:]


async def _spans(rig: Rig, marks: list[tuple[UUID, float, float]]) -> dict[str, Any]:
    cursor = await rig.conn.execute(
        "select job_id, (final_output->>'at')::float8 from app.processing_jobs"
        " where job_id = any(%s)",
        ([job_id for job_id, _, _ in marks],),
    )
    starts: dict[UUID, float] = dict(await cursor.fetchall())
    return {
        **spread_ms([starts[job_id] - before for job_id, before, _ in marks], "wake_"),
        **spread_ms([after - before for _, before, after in marks], "wake_submit_"),
        **spread_ms([starts[job_id] - after for job_id, _, after in marks], "wake_after_"),
        "wake_samples": len(marks),
    }
