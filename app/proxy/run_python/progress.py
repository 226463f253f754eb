"""What code prints, told to whoever waits for its call while it runs."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator

from app.kernel.errors import AppError, Code
from app.proxy.telling import Teller
from app.sandbox import Ended, Event, Shown, TaskResult

_log = logging.getLogger(__name__)

# At most so often; what comes in between is told in one notification.
_PAUSE_S = 0.05
_MESSAGE_CHARS = 16_000


class _Telling:
    """Tells text in pieces that a slow client can take. Progress counts its characters."""

    def __init__(self, tell: Teller) -> None:
        self._tell = tell
        self._waiting = ""
        self._told = 0
        self._news, self._over = asyncio.Event(), asyncio.Event()

    def say(self, text: str) -> None:
        """Text for the next notification."""
        self._waiting += text
        self._news.set()

    def end(self) -> None:
        """There will be no more; `run` returns once all is told."""
        self._over.set()
        self._news.set()

    async def run(self) -> None:
        """Tell to the end. A client that cannot be told any more is the call's own trouble."""
        try:
            while self._waiting or not self._over.is_set():
                await self._news.wait()
                await self._flush()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_PAUSE_S):
                        await self._over.wait()
        except Exception:  # noqa: BLE001 - a client that is gone, in whatever way
            _log.exception("progress could not be told")

    async def _flush(self) -> None:
        self._news.clear()
        while self._waiting:
            text = self._waiting[:_MESSAGE_CHARS]
            self._waiting = self._waiting[_MESSAGE_CHARS:]
            self._told += len(text)
            await self._tell(float(self._told), None, text)


async def follow(events: AsyncIterator[Event], tell: Teller) -> TaskResult:
    """Follow a task to its end, telling what it prints and shows; its result."""
    telling = _Telling(tell)
    pump = asyncio.create_task(telling.run(), name="sandbox-progress")
    try:
        result = await _last(events, telling)
        telling.end()
        await pump
        return result
    finally:
        pump.cancel()


async def _last(events: AsyncIterator[Event], telling: _Telling) -> TaskResult:
    async for event in events:
        if isinstance(event, Ended):
            return event.result
        telling.say(f"[{event.file.name}]\n" if isinstance(event, Shown) else event.text)
    raise AppError(Code.SANDBOX_FAILED, "The sandbox ended without a result.")
