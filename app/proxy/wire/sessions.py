"""The sessions with older servers: one for each server and owner of credentials.

Sharing one between owners would let what the server keeps in it leak from one to the other.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any

from app.kernel.errors import AppError
from app.proxy.faults import server_down
from app.proxy.wire.faults import SessionLostError
from app.proxy.wire.legacy import HttpSession, Session
from app.proxy.wire.modern import next_id
from app.proxy.wire.oldsse import SseSession
from app.proxy.wire.pool import Pool
from app.proxy.wire.types import Answer, OnMessage, Target

MOST = 2000
IDLE_S = 600.0
_OPEN_S = 30.0
_CLOSE_S = 2.0
_log = logging.getLogger(__name__)
_Key = tuple[str, str]


@dataclass(slots=True)
class _Kept:
    target: Target
    opening: asyncio.Task[Session]
    used: float
    calls: int = 0
    is_left: bool = False


class Sessions:
    """Opens sessions when they are needed, once; closes those long unused, and all at the end."""

    def __init__(self, pool: Pool, clock: Callable[[], float] = monotonic) -> None:
        self._pool, self._clock = pool, clock
        self._kept: OrderedDict[_Key, _Kept] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._kept)

    async def call(
        self,
        target: Target,
        method: str,
        params: bytes,
        *,
        owner: str | None,
        headers: Mapping[str, str],
        on_message: OnMessage | None = None,
    ) -> Answer:
        """Send a request over the owner's session; one that the server ended is opened again, once.

        A server says so (HTTP 404) before it has looked at the request, so nothing runs twice.
        """
        key = (target.name, owner or "")
        for is_last in (False, True):
            kept = self._get(key, target, headers)
            kept.calls += 1
            try:
                session, request_id = await self._opened(key, kept), next_id()
                try:
                    return await session.request(request_id, method, params, headers, on_message)
                except asyncio.CancelledError:
                    # Not here: a server that does not answer must not keep who has left.
                    self._later(session.cancel(request_id, headers))
                    raise
            except SessionLostError:
                self._drop(key, kept)
                if is_last:
                    raise
            finally:
                kept.calls -= 1
                kept.used = self._clock()
                if kept.is_left and not kept.calls:
                    self._later(_leave(kept))
        raise AssertionError("unreachable")

    async def close(self) -> None:
        """Take leave of every server."""
        for kept in self._kept.values():
            self._later(_leave(kept))
        self._kept.clear()
        await asyncio.gather(*self._closing, return_exceptions=True)

    def _get(self, key: _Key, target: Target, headers: Mapping[str, str]) -> _Kept:
        kept = self._kept.get(key)
        if kept is not None and kept.target is not target and kept.target != target:
            # The server has moved, or is sent other headers now.
            self._drop(key, kept)
            kept = None
        if kept is None:
            self._sweep()
            opening = asyncio.create_task(self._open(target, headers), name="mcp-session")
            kept = self._kept[key] = _Kept(target, opening, self._clock())
        self._kept.move_to_end(key)
        return kept

    async def _open(self, target: Target, headers: Mapping[str, str]) -> Session:
        kind = SseSession if target.transport == "sse" else HttpSession
        try:
            async with asyncio.timeout(_OPEN_S):
                return await kind.open(self._pool, target, headers)
        except TimeoutError:
            raise server_down(target.name, "did not shake hands in time") from None

    async def _opened(self, key: _Key, kept: _Kept) -> Session:
        try:
            return await asyncio.shield(kept.opening)
        except Exception:
            # Whatever it was: the next call tries again.
            self._drop(key, kept)
            raise

    def _sweep(self) -> None:
        """Close what was not used for long, and the longest unused beyond so many."""
        now = self._clock()
        for key, kept in list(self._kept.items()):
            is_old = now - kept.used > IDLE_S
            if kept.calls == 0 and (is_old or len(self._kept) >= MOST):
                self._drop(key, kept)
            elif not is_old and len(self._kept) < MOST:
                return

    def _drop(self, key: _Key, kept: _Kept) -> None:
        """Give it to nobody any more; it is closed once those who have it are done."""
        if self._kept.get(key) is kept:
            del self._kept[key]
            kept.is_left = True
            if not kept.calls:
                self._later(_leave(kept))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(_briefly(work), name="mcp-session-close")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def _briefly(work: Coroutine[Any, Any, None]) -> None:
    with suppress(AppError, TimeoutError):
        async with asyncio.timeout(_CLOSE_S):
            await work


async def _leave(kept: _Kept) -> None:
    kept.opening.cancel()
    await asyncio.wait({kept.opening})
    if not kept.opening.cancelled() and kept.opening.exception() is None:
        await kept.opening.result().close()
