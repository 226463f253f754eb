"""The long connections of one process: how many, whose, and for how long.

A request is authenticated by itself, but a stream lives on. One watch for all of them ends a
stream within five seconds of its credential's end, as requests are refused.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from app.auth import Entrant
from app.kernel.clock import Clock
from app.kernel.errors import AppError, Code
from app.kernel.settings import Settings
from app.surfaces.context import Access

_CHECK_S = 5.0
_AGAIN_S = 5.0
_log = logging.getLogger(__name__)


class Ending(StrEnum):
    """Why the server ends a stream."""

    CREDENTIAL = "The credential has expired or was revoked."
    AGE = "The longest time of a connection is over; connect again."


@dataclass(frozen=True, eq=False, slots=True)
class _Stream:
    entrant: Entrant
    until: float
    end: Callable[[Ending], None]


class Streams:
    """Counts streams, and ends those whose time is over."""

    def __init__(self, access: Access, settings: Settings, clock: Clock) -> None:
        self._access = access
        self._clock = clock
        self._most = settings.mcp_streams
        self._most_of_one = settings.mcp_streams_per_user
        self._longest_s = settings.mcp_stream_seconds
        self._open: set[_Stream] = set()
        self._of_users: Counter[UUID] = Counter()
        self._held = 0

    def __len__(self) -> int:
        """How many are held."""
        return self._held

    @contextmanager
    def hold(self, entrant: Entrant, end: Callable[[Ending], None]) -> Iterator[None]:
        """Count a stream while the block runs; `end` is called if it must not go on.

        Raises `rate_limited` if the user, or the process, has as many as may be.
        """
        user_id = entrant.principal.owner
        self._check_room(user_id)
        self._of_users[user_id] += 1
        self._held += 1
        try:
            with self.follow(entrant, end):
                yield
        finally:
            self._held -= 1
            self._of_users[user_id] -= 1
            if not self._of_users[user_id]:
                del self._of_users[user_id]

    @contextmanager
    def follow(self, entrant: Entrant, end: Callable[[Ending], None]) -> Iterator[None]:
        """Watch a stream while the block runs, without counting it as the user's."""
        stream = _Stream(entrant, self._clock.monotonic() + self._longest_s, end)
        self._open.add(stream)
        try:
            yield
        finally:
            self._open.discard(stream)

    def _check_room(self, user_id: UUID) -> None:
        if self._of_users[user_id] >= self._most_of_one:
            raise _too_many(f"You have {self._most_of_one} connections open.")
        if self._held >= self._most:
            raise _too_many("The server has no room for more connections.")

    async def run(self) -> None:
        """Watch until cancelled."""
        while True:
            await asyncio.sleep(_CHECK_S)
            try:
                await self.check()
            except AppError as error:
                _log.warning("streams not checked", extra={"reason": error.message})

    async def check(self) -> None:
        """End the streams whose credential or time is over now."""
        streams = list(self._open)
        keys = {key for each in streams if (key := each.entrant.principal.key_id) is not None}
        lapsed = await self._access.lapsed(keys) if keys else set()
        now, moment = self._clock.now(), self._clock.monotonic()
        for stream in streams:
            expires_at = stream.entrant.expires_at
            is_over = expires_at is not None and expires_at <= now
            if is_over or stream.entrant.principal.key_id in lapsed:
                stream.end(Ending.CREDENTIAL)
            elif stream.until <= moment:
                stream.end(Ending.AGE)


def _too_many(message: str) -> AppError:
    return AppError(
        Code.RATE_LIMITED,
        message,
        hint="Close those that are not needed, or try again later.",
        details={"retry_after_s": _AGAIN_S},
    )
