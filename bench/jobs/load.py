"""Closed-loop load through the Python facade: so many callers, so many jobs under way, no more.

A caller submits its next job when the last one is durable, and waits while `ahead` jobs have been
submitted and have not ended. So the figure is what is ended for good, not what is accepted.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from app.kernel.errors import AppError
from app.orchestration import JobRequest
from bench.jobs.stage import Options, Reading, Rig
from bench.platform import PRICE

_TICK_S = 0.002
_DEAD_S = 5.0
_FILL = 180
Pick = Callable[[int], UUID]


@dataclass(frozen=True, slots=True)
class Window:
    """Readings at the start and the end, jobs ended by each second since the load began, and dead
    rows every five seconds of the window.
    """

    before: Reading
    after: Reading
    series: list[int]
    dead: list[int]

    @property
    def jobs(self) -> int:
        """Jobs ended in the window."""
        return self.after.ended - self.before.ended

    @property
    def seconds(self) -> float:
        """Its length."""
        return self.after.at - self.before.at

    @property
    def per_s(self) -> int:
        """Jobs per second."""
        return round(self.jobs / self.seconds)

    def cpu_us(self) -> dict[str, float]:
        """CPU per job of each process, in microseconds."""
        jobs = max(self.jobs, 1)
        return {
            name: round(1e6 * (used - self.before.cpu_s[name]) / jobs, 1)
            for name, used in self.after.cpu_s.items()
        }

    def wal_bytes(self) -> int:
        """Write-ahead log per job."""
        return round((self.after.wal_bytes - self.before.wal_bytes) / max(self.jobs, 1))


def pick_evenly(users: list[UUID]) -> Pick:
    """Each user in turn."""
    count = len(users)
    return lambda number: users[number % count]


def job(user: UUID, number: int) -> JobRequest:
    """A job with about 200 bytes of input that is not another's."""
    payload = str(number).ljust(_FILL, "x")
    definition = {"tool": "bench.noop", "arguments": {"payload": payload}}
    return JobRequest(user, "tool", definition, PRICE)


class Closed:
    """The callers. `size` 0 submits job by job, else lists of that many."""

    def __init__(self, rig: Rig, options: Options, pick: Pick, *, size: int = 0) -> None:
        self._rig = rig
        self._options = options
        self._pick = pick
        self._size = size
        self._step = size or 1
        self._parked: deque[asyncio.Future[int]] = deque()
        self._base = self._begun = self._done = rig.ended.total()
        self._is_over = False
        self._series: list[int] = []

    async def run(self, seconds: float) -> Window:
        """Warm up, measure, stop and drain."""
        count = self._options.callers
        if self._size:
            count = max(4, self._options.ahead // self._size // 2)
        callers = [asyncio.create_task(self._call()) for _ in range(count)]
        ticker = asyncio.create_task(self._tick())
        try:
            await self._sleep(self._options.warm_s, callers)
            before, dead = await self._rig.read(), []
            deadline = before.at + seconds
            while (left := deadline - time.monotonic()) > 0:
                await self._sleep(min(_DEAD_S, left), callers)
                dead.append(await self._rig.dead_rows())
            after = await self._rig.read()
        finally:
            self._is_over = True
            ticker.cancel()
            self._done = self._begun
            self._admit()
        await asyncio.gather(*callers)
        await self._rig.settle()
        return Window(before, after, self._series, dead)

    async def _sleep(self, seconds: float, callers: list[asyncio.Task[None]]) -> None:
        ended, _ = await asyncio.wait(callers, timeout=seconds, return_when="FIRST_EXCEPTION")
        for task in ended:
            task.result()

    async def _call(self) -> None:
        intake, step = self._rig.made.intake, self._step
        while not self._is_over:
            number = await self._turn()
            if self._size:
                asked = [job(self._pick(n), n) for n in range(number, number + step)]
                for result in await intake.submit_many(asked):
                    if isinstance(result, AppError):
                        raise result
            else:
                await intake.submit(job(self._pick(number), number))
            self._rig.submitted += step

    async def _turn(self) -> int:
        """The number of the next job, once there is room for it."""
        if not self._parked and self._has_room():
            self._begun += self._step
            return self._begun - self._step
        place: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._parked.append(place)
        return await place

    def _has_room(self) -> bool:
        return self._begun - self._done + self._step <= self._options.ahead

    def _admit(self) -> None:
        while self._parked and (self._has_room() or self._is_over):
            self._parked.popleft().set_result(self._begun)
            self._begun += self._step

    async def _tick(self) -> None:
        began = time.monotonic()
        while True:
            self._done = self._rig.ended.total()
            self._admit()
            while len(self._series) < int(time.monotonic() - began):
                self._series.append(self._done - self._base)
            await asyncio.sleep(_TICK_S)
