"""Open loop: jobs fall due by a fixed schedule, whatever becomes of those before them.

Every millisecond the client submits what has fallen due as one list, so a job is at most that late
by the client's own doing. Two spans of every 64th job are reported, both to the moment that the
worker knows its end is committed: from the moment that the submit was committed (`p95_ms`), and
from the moment that the job was due (`due_p95_ms`), which counts every wait, that before the submit
too, so nothing is left out when the platform stalls (coordinated omission).
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import uvloop

from app.orchestration import Submitted
from bench.jobs.ended import is_sampled
from bench.jobs.load import job, pick_evenly
from bench.jobs.spans import spread_ms
from bench.jobs.stage import Options, Rig, stage

_TICK_S = 0.001


class Schedule:
    """A stream of jobs at a fixed rate."""

    def __init__(self, rig: Rig, rate: int) -> None:
        self._rig = rig
        self._rate = rate
        self._pick = pick_evenly(rig.users)
        self._tasks: set[asyncio.Task[None]] = set()
        self._began = 0.0
        self.begun = 0
        self.marks: dict[bytes, tuple[float, float]] = {}
        self.refused: list[BaseException] = []

    async def run(self, seconds: float) -> None:
        """Submit all that falls due in so many seconds; go on where the last call ended."""
        self._began = self._began or time.monotonic()
        total = self.begun + round(seconds * self._rate)
        while self.begun < total:
            due = min(total, int((time.monotonic() - self._began) * self._rate))
            if due > self.begun:
                task = asyncio.create_task(self._submit(self.begun, due))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                self.begun = due
            await asyncio.sleep(_TICK_S)

    async def finish(self) -> None:
        """Wait until all is submitted; raises what went wrong."""
        await asyncio.gather(*self._tasks)
        if self.refused:
            raise self.refused[0]

    def due(self, number: int) -> float:
        """When a job is due."""
        return self._began + number / self._rate

    async def _submit(self, first: int, end: int) -> None:
        asked = [job(self._pick(n), n) for n in range(first, end)]
        results = await self._rig.made.intake.submit_many(asked)
        now = time.monotonic()
        for number, result in enumerate(results, first):
            if not isinstance(result, Submitted):
                self.refused.append(result)
                continue
            self._rig.submitted += 1
            if is_sampled(result.job.job_id):
                self.marks[result.job.job_id.bytes] = (self.due(number), now)


def open_loop(options: Options, _found: Mapping[str, Any]) -> dict[str, Any]:
    """`p95_ms`, `backlog_end` and what goes with them."""

    async def run() -> dict[str, Any]:
        with stage() as place:
            async with Rig.over(place, options) as rig:
                return await _measure(rig, options)

    found: dict[str, Any] = uvloop.run(run())
    return found


async def _measure(rig: Rig, options: Options) -> dict[str, Any]:
    schedule = Schedule(rig, options.rate)
    await schedule.run(options.warm_s)
    first, accepted, before = schedule.begun, rig.submitted, await rig.read()
    await schedule.run(options.open_seconds)
    after, accepted = await rig.read(), rig.submitted - accepted
    left = schedule.begun - after.ended
    seconds = after.at - before.at
    await schedule.finish()
    await rig.settle()
    ends, since = rig.ended.moments(), schedule.due(first)
    spans = [(due, made, ends[key]) for key, (due, made) in schedule.marks.items() if due >= since]
    speed = (after.ended - before.ended) / seconds
    return {
        "open_rate": options.rate,
        "offered_per_s": round((schedule.begun - first) / seconds),
        "accepted_per_s": round(accepted / seconds),
        "ended_per_s": round(speed),
        **spread_ms([end - made for _, made, end in spans]),
        **spread_ms([end - due for due, _, end in spans], "due_"),
        **spread_ms([made - due for due, made, _ in spans], "submit_"),
        "open_samples": len(spans),
        "backlog_end": round(left / speed, 3) if speed else None,
        "backlog_end_jobs": left,
    }
