"""Sessions of older clients: each stands for one of the server's own, and has one owner.

Clients get ids made here; the server's ids never leave, so no id opens another's session.
"""

import secrets
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

from app.surfaces.mcp.passthrough.charged import ChargedCall

MOST = 10_000
IDLE_S = 1800.0


@dataclass(slots=True)
class Link:
    """One session; `pending` are calls whose answer has yet to come, by their raw ids."""

    session_id: str
    slug: str
    owner: str
    upstream_id: str
    used: float
    pending: dict[bytes, ChargedCall] = field(default_factory=dict)


class Links:
    """The sessions of this process, the longest unused first."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._links: OrderedDict[str, Link] = OrderedDict()

    def open(self, slug: str, owner: str, upstream_id: str) -> Link:
        """A new session over the server's own."""
        self._sweep()
        link = Link(secrets.token_urlsafe(24), slug, owner, upstream_id, self._clock())
        self._links[link.session_id] = link
        return link

    def find(self, session_id: str, slug: str, owner: str) -> Link | None:
        """The owner's session with that server; another's is as unknown as none."""
        link = self._links.get(session_id)
        if link is None or link.slug != slug or link.owner != owner:
            return None
        link.used = self._clock()
        self._links.move_to_end(session_id)
        return link

    def drop(self, link: Link) -> None:
        """Forget a session; calls without an answer are given up."""
        self._links.pop(link.session_id, None)
        for call in link.pending.values():
            call.give_up()
        link.pending.clear()

    def close(self) -> None:
        """Forget all."""
        for link in list(self._links.values()):
            self.drop(link)

    def _sweep(self) -> None:
        oldest = self._clock() - IDLE_S
        for link in list(self._links.values()):
            if link.used >= oldest and len(self._links) < MOST:
                return
            self.drop(link)
