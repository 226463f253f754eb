"""Time as a dependency, so that tests set it. Leases use the database's clock, never this one."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """A source of wall time (aware, UTC) and of monotonic seconds."""

    def now(self) -> datetime: ...
    def monotonic(self) -> float: ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


def loop_time() -> float:
    """Seconds of the running event loop's clock: of waits between tasks, simulated with them."""
    return asyncio.get_running_loop().time()
