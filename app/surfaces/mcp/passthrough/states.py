"""Seals what a server gives a client to carry, so that it comes back from the same hands.

A server's `requestState` (2026-07-28, multi round-trip requests) is opaque to everybody else, but
not every server binds it to who asked. Here it is bound to user, server, method and name, and it
is good for as long as the platform's own.
"""

import struct
from functools import cached_property

from mcp.server.request_state import AESGCMRequestStateCodec, InvalidRequestState

from app.kernel.clock import Clock, SystemClock
from app.kernel.settings import Settings
from app.surfaces.mcp.live.requeststate import TTL_S, request_state_keys

_STAMP = struct.Struct(">Q")


class States:
    """Seals and opens states with the keys of this installation; any process opens them."""

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()

    @cached_property
    def _codec(self) -> AESGCMRequestStateCodec:
        return AESGCMRequestStateCodec(request_state_keys(self._settings))

    def seal(self, state: str, owner: str, *place: str) -> str:
        """The state as the client gets it."""
        stamp = _STAMP.pack(int(self._clock.now().timestamp()))
        return self._codec.seal(stamp + _mark(owner, place) + state.encode())

    def open(self, sealed: str, owner: str, *place: str) -> str | None:
        """The server's own state; None for one that was not sealed for this owner and place, or is
        older than a day.
        """
        try:
            raw = self._codec.unseal(sealed)
        except (InvalidRequestState, ValueError):
            return None
        if len(raw) < _STAMP.size or self._age(raw) > TTL_S:
            return None
        mark, rest = _mark(owner, place), raw[_STAMP.size :]
        return rest.removeprefix(mark).decode() if rest.startswith(mark) else None

    def _age(self, raw: bytes) -> float:
        (sealed_at,) = _STAMP.unpack_from(raw)
        return self._clock.now().timestamp() - float(sealed_at)


def _mark(owner: str, place: tuple[str, ...]) -> bytes:
    """What a state is bound to, in lengths and texts, so that no two of them read the same."""
    parts = [part.encode() for part in ("passed through", owner, *place)]
    return b"".join(b"%d:%b" % (len(part), part) for part in parts)
