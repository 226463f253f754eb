"""Seals what a server gives a client to carry, so that it comes back from the same hands.

A server's `requestState` (2026-07-28, multi round-trip requests) is opaque to everybody else, but
not every server binds it to who asked. Here it is bound to user, server, method and name.
"""

from functools import cached_property

from mcp.server.request_state import AESGCMRequestStateCodec, InvalidRequestState

from app.kernel.settings import Settings
from app.surfaces.mcp.live.requeststate import request_state_keys


class States:
    """Seals and opens states with the keys of this installation; any process opens them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    @cached_property
    def _codec(self) -> AESGCMRequestStateCodec:
        return AESGCMRequestStateCodec(request_state_keys(self._settings))

    def seal(self, state: str, owner: str, *place: str) -> str:
        """The state as the client gets it."""
        return self._codec.seal(_mark(owner, place) + state.encode())

    def open(self, sealed: str, owner: str, *place: str) -> str | None:
        """The server's own state; None for one that was not sealed for this owner and place."""
        try:
            raw = self._codec.unseal(sealed)
        except (InvalidRequestState, ValueError):
            return None
        mark = _mark(owner, place)
        return raw.removeprefix(mark).decode() if raw.startswith(mark) else None


def _mark(owner: str, place: tuple[str, ...]) -> bytes:
    """What a state is bound to, in lengths and texts, so that no two of them read the same."""
    parts = [part.encode() for part in ("passed through", owner, *place)]
    return b"".join(b"%d:%b" % (len(part), part) for part in parts)
