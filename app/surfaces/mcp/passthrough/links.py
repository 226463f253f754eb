"""Sessions of older clients: each stands for one of the server's own, and has one owner.

A client's session id is the server's, sealed for its owner: any process of this installation goes
on with it, and nobody else's is of use. So nothing is kept here.
"""

from dataclasses import dataclass

from app.surfaces.mcp.passthrough.states import States

_SESSION = "session"


@dataclass(frozen=True, slots=True)
class Link:
    """One session, by the client's id and the server's."""

    session_id: str
    upstream_id: str


class Links:
    """Seals and opens the ids of sessions."""

    def __init__(self, states: States) -> None:
        self._states = states

    def open(self, slug: str, owner: str, upstream_id: str) -> Link:
        """A new session over the server's own."""
        return Link(self._states.seal(upstream_id, owner, _SESSION, slug), upstream_id)

    def find(self, session_id: str, slug: str, owner: str) -> Link | None:
        """The owner's session with that server; another's is as unknown as none."""
        upstream_id = self._states.open(session_id, owner, _SESSION, slug)
        return None if upstream_id is None else Link(session_id, upstream_id)
