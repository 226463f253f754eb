"""Which parts of the broker fail at this moment; told once when it begins and when it ends."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from app.kernel.errors import AppError
from app.kernel.metrics import Metrics
from app.orchestration.dispatch.broker import BrokerError

_RETRY_S = 0.2
_log = logging.getLogger(__name__)


class Faults:
    """The parts that fail, by name. As long as there is one, PostgreSQL is asked for work."""

    def __init__(self, metrics: Metrics, on_change: Callable[[], None]) -> None:
        self._metrics = metrics
        self._on_change = on_change
        self._reasons: dict[str, str] = {}
        metrics.observe_dispatch(is_up=True)

    @property
    def is_up(self) -> bool:
        """Whether all parts work."""
        return not self._reasons

    @property
    def reason(self) -> str | None:
        """Why one of them does not."""
        return next((f"{part}: {why}" for part, why in self._reasons.items()), None)

    def note(self, part: str, reason: str | None) -> None:
        """A part failed for a reason, or works (None)."""
        was_up = self.is_up
        if reason is None:
            self._reasons.pop(part, None)
        else:
            self._reasons[part] = reason
        if was_up == self.is_up:
            return
        self._metrics.observe_dispatch(is_up=self.is_up)
        if self.is_up:
            _log.warning("broker back; jobs come through it again")
        else:
            _log.warning("broker away (%s); jobs are claimed from PostgreSQL", self.reason)
        self._on_change()

    async def forever(self, part: str, step: Callable[[], Awaitable[None]]) -> None:
        """Repeat a step of a part; a failing one is noted and tried again."""
        task = asyncio.current_task()
        # The client may turn a cancel into an error of its own; the task's count still knows.
        while task is None or not task.cancelling():
            try:
                await step()
            except BrokerError as error:
                self.note(part, str(error))
            except AppError as error:
                # The database is away: that is nothing of the broker's, and told by others.
                _log.info("dispatch waits for the database", extra={"reason": error.message})
            except Exception as error:  # noqa: BLE001 - nobody watches this task, it must not end
                _log.exception("dispatch failed")
                self.note(part, type(error).__name__)
            else:
                self.note(part, None)
                continue
            await asyncio.sleep(_RETRY_S)
