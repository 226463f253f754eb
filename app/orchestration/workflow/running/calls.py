"""The calls in flight of all runs of a worker, at most so many, each a task of its own."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from app.kernel.errors import AppError, Code
from app.orchestration.workflow.running.records import EndedStep, PutOff
from app.orchestration.workflow.running.run import Run
from app.orchestration.workflow.steps import ReadyStep

Ending = EndedStep | PutOff | Exception
Make = Callable[[Run, ReadyStep], Awaitable[EndedStep | PutOff]]
Ended = Callable[[Run, Ending], None]


class Calls:
    """Starts tries of steps in the order they come and hands on how they end."""

    def __init__(self, make: Make, ended: Ended, most: int) -> None:
        self._make = make
        self._ended = ended
        self._most = most
        self._queue: deque[tuple[Run, ReadyStep]] = deque()
        self._flying: set[asyncio.Task[None]] = set()
        # Calls that nobody was told of, oldest first.
        self._unseen: deque[tuple[float, Run, ReadyStep]] = deque()

    def start(self, run: Run, steps: list[ReadyStep]) -> None:
        """Call steps, at once or as soon as there is room."""
        self._queue.extend((run, step) for step in steps)
        self._fill()

    def slow(self, before: float) -> list[tuple[Run, ReadyStep]]:
        """Steps called before a moment of the loop's time that are still at work, each once."""
        found = []
        while self._unseen and self._unseen[0][0] <= before:
            _, run, step = self._unseen.popleft()
            if step.path in run.tasks:
                found.append((run, step))
        return found

    def oldest_unseen(self) -> float | None:
        """When the oldest call at work that nobody was told of began, in the loop's time."""
        while self._unseen and self._unseen[0][2].path not in self._unseen[0][1].tasks:
            self._unseen.popleft()
        return self._unseen[0][0] if self._unseen else None

    async def close(self) -> None:
        """Stop every call."""
        self._queue.clear()
        tasks = list(self._flying)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _fill(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queue and len(self._flying) < self._most:
            run, step = self._queue.popleft()
            if run.is_stopping:
                continue
            task = loop.create_task(self._call(run, step))
            self._flying.add(task)
            run.tasks[step.path] = task
            self._unseen.append((loop.time(), run, step))

    async def _call(self, run: Run, step: ReadyStep) -> None:
        ending: Ending
        try:
            ending = await self._make(run, step)
        except asyncio.CancelledError:
            # Unless the run is stopped, nobody here cancelled it, and it would end in silence.
            ending = AppError(Code.INTERNAL, "A step was cancelled from inside.")
        except Exception as error:  # noqa: BLE001 - the border of foreign code
            ending = error
        task = run.tasks.pop(step.path)
        self._flying.discard(task)
        if self._queue:
            self._fill()
        if not run.is_stopping:
            self._ended(run, ending)
