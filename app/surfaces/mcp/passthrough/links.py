"""Sessions of older clients: each stands for one of the server's own, and has one owner.

A client's session id is the server's, sealed for its owner: any process of this installation can
go on with it, and nobody else's is of use. What is kept here are calls whose answers are awaited.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from app.surfaces.mcp.passthrough.charged import ChargedCall
from app.surfaces.mcp.passthrough.states import States

MOST = 10_000
_SESSION = "session"


@dataclass(slots=True)
class Link:
    """One session; `pending` are calls whose answer has yet to come, by their raw ids."""

    session_id: str
    upstream_id: str
    pending: dict[bytes, ChargedCall] = field(default_factory=dict)


class Links:
    """The sessions this process has seen, the longest unused first."""

    def __init__(self, states: States) -> None:
        self._states = states
        self._links: OrderedDict[tuple[str, str, str], Link] = OrderedDict()

    def open(self, slug: str, owner: str, upstream_id: str) -> Link:
        """A new session over the server's own."""
        session_id = self._states.seal(upstream_id, owner, _SESSION, slug)
        return self._keep((session_id, slug, owner), Link(session_id, upstream_id))

    def find(self, session_id: str, slug: str, owner: str) -> Link | None:
        """The owner's session with that server; another's is as unknown as none."""
        key = (session_id, slug, owner)
        if (known := self._links.get(key)) is not None:
            self._links.move_to_end(key)
            return known
        upstream_id = self._states.open(session_id, owner, _SESSION, slug)
        return None if upstream_id is None else self._keep(key, Link(session_id, upstream_id))

    def drop(self, link: Link) -> None:
        """Let a session go; calls without an answer are given up."""
        for key in [key for key, one in self._links.items() if one is link]:
            del self._links[key]
        _give_up(link)

    def close(self) -> None:
        """Let all go."""
        for link in self._links.values():
            _give_up(link)
        self._links.clear()

    def _keep(self, key: tuple[str, str, str], link: Link) -> Link:
        self._links[key] = link
        while len(self._links) > MOST:
            _, oldest = self._links.popitem(last=False)
            _give_up(oldest)
        return link


def _give_up(link: Link) -> None:
    for call in link.pending.values():
        call.give_up()
    link.pending.clear()
