"""Sessions of the handshake era as the fast way needs them: whose they are, and what they can.

The SDK keeps the sessions themselves. A sitting is noted when a session has shaken hands and
forgotten with it. Now and then one of its requests goes through the SDK, which would otherwise
take a session that only calls tools for an idle one.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from mcp.server.connection import Connection
from starlette.requests import HTTPConnection

from app.auth import Entrant
from app.kernel.clock import Clock
from app.surfaces.mcp.calls import Context
from app.surfaces.mcp.doors.entry import entrant_of

HEADER = "mcp-session-id"
# The first version whose results may be structured.
_OLDEST = "2025-06-18"
# Servers may ask such clients something back, in the midst of a call.
_ASKABLE = frozenset({"elicitation", "sampling", "roots", "tasks"})
_FRESH_S = 60.0

Identity = tuple[str, str | None, str]


def _identity(entrant: Entrant) -> Identity:
    """What the SDK compares of who opened a session and who uses it."""
    return entrant.client, entrant.issuer, str(entrant.principal.owner)


class Sitting:
    """One session; `calls` are those of its calls that went the fast way and are under way."""

    def __init__(
        self, owner: Identity, version: str, wants_log: Callable[[], bool], *, is_plain: bool
    ) -> None:
        self.version = version.encode()
        self.calls: dict[bytes, asyncio.Task[Any]] = {}
        self._cancelled: set[bytes] = set()
        self.seen_at = 0.0
        self._owner = owner
        self._wants_log = wants_log
        self._is_plain = is_plain

    def suits(self, entrant: Entrant) -> bool:
        """Whether a call of this caller's can go the fast way."""
        is_quiet = self._is_plain and not self._wants_log()
        return is_quiet and _identity(entrant) == self._owner

    def cancel(self, request_id: bytes) -> None:
        """End a call that the client does not want any more; it gets no answer."""
        if (task := self.calls.get(request_id)) is not None:
            self._cancelled.add(request_id)
            task.cancel()

    def is_cancelled(self, request_id: bytes) -> bool:
        """Whether the client has cancelled that call, or ended the session."""
        return request_id in self._cancelled

    def ended(self, request_id: bytes) -> None:
        """Forget a call."""
        del self.calls[request_id]
        self._cancelled.discard(request_id)


class Sittings:
    """The sittings of this process, by the ids of their sessions."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._sittings: dict[bytes, Sitting] = {}

    def open(self, context: Context, connection: Connection, wants_log: Callable[[], bool]) -> None:
        """Note a session that has shaken hands, until its connection ends."""
        request = context.request
        if not isinstance(request, HTTPConnection) or HEADER not in request.headers:
            return
        key = request.headers[HEADER].encode()
        made = Sitting(
            _identity(entrant_of(request.scope)),
            context.protocol_version,
            wants_log,
            is_plain=context.protocol_version >= _OLDEST and not _askable(connection),
        )
        made.seen_at = self._clock.monotonic()
        self._sittings[key] = made
        connection.exit_stack.callback(self.close, key)

    def close(self, key: bytes) -> None:
        """Forget a session, and end its calls."""
        if (sitting := self._sittings.pop(key, None)) is not None:
            for request_id in list(sitting.calls):
                sitting.cancel(request_id)

    def find(self, key: bytes) -> Sitting | None:
        """The sitting of that session."""
        return self._sittings.get(key)

    def is_fresh(self, sitting: Sitting) -> bool:
        """Whether the SDK has seen the session lately; if not, it sees it now."""
        now = self._clock.monotonic()
        if now - sitting.seen_at <= _FRESH_S:
            return True
        sitting.seen_at = now
        return False


def _askable(connection: Connection) -> bool:
    declared = connection.client_capabilities
    if declared is None:
        return True
    shown: Mapping[str, Any] = declared.model_dump(exclude_none=True)
    return not _ASKABLE.isdisjoint(shown)
