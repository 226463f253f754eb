"""An event loop without real time: when nothing is ready, the clock jumps to the next timer.

One thread, one seed, no sockets: the same seed gives the same run, callback by callback.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")


class StuckError(Exception):
    """Every task waits for something that will never come."""


class SimLoop(asyncio.BaseEventLoop):
    """The standard loop, with itself as the selector and a clock of its own."""

    def __init__(self) -> None:
        super().__init__()
        self._moment = 0.0
        self._selector = self

    def time(self) -> float:
        return self._moment

    def select(self, timeout: float | None) -> list[Any]:
        """Where other loops wait for the world, time passes here."""
        if timeout is None:
            raise StuckError("no timer is set and nothing is ready")
        self._moment += timeout
        return []

    def _process_events(self, _events: list[Any]) -> None:
        return None

    def _write_to_self(self) -> None:
        return None


def simulate(work: Coroutine[Any, Any, _T]) -> _T:
    """Run to the end in a loop of its own."""
    loop = SimLoop()
    try:
        return loop.run_until_complete(work)
    finally:
        _end_all(loop)
        loop.close()


def _end_all(loop: SimLoop) -> None:
    """Cancel what a failure has left behind, as often as it takes."""
    while left := asyncio.all_tasks(loop):
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.wait(left))
        for task in left:
            if not task.cancelled():
                task.exception()
