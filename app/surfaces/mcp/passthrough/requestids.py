"""Requests of older clients under ids of our own, whatever ids their clients give them.

A server tells the streams of a session apart by the ids of their requests. Two requests of one id
would share a stream: by the id of an event of the first one's a client would be given the answer
to the second, a call's for what the first has cost. So no client's id reaches a server of that era.
"""

from collections import OrderedDict
from dataclasses import replace

from app.kernel.ids import new_id
from app.proxy import join_params, split_params
from app.surfaces.mcp.passthrough.inbound import Inbound

MOST = 10_000
_CANCELLED = "notifications/cancelled"
Session = tuple[str, ...]
"""Whose it is, with which server, and the server's own id of it."""


class RequestIds:
    """Renames requests, and remembers the last ones, so that their clients can cancel them."""

    def __init__(self) -> None:
        self._sent: OrderedDict[tuple[Session, bytes], bytes] = OrderedDict()

    def renamed(self, found: Inbound, session: Session) -> Inbound:
        """The message as it goes to the server; one of 2026-07-28 as it is."""
        if found.is_modern:
            return found
        if found.is_request:
            sent = self._new(session, found.parts.id)
            return replace(found, parts=found.parts._replace(id=sent))
        if found.method == _CANCELLED:
            return self._cancelling(found, session)
        return found

    def _new(self, session: Session, given: bytes) -> bytes:
        key, sent = (session, given), b'"%b"' % str(new_id()).encode()
        self._sent[key] = sent
        self._sent.move_to_end(key)
        while len(self._sent) > MOST:
            self._sent.popitem(last=False)
        return sent

    def _cancelling(self, found: Inbound, session: Session) -> Inbound:
        values = split_params(found.parts.params)
        sent = self._sent.get((session, values.get("requestId", b"")))
        if sent is None:
            return found
        params = join_params(values | {"requestId": sent})
        return replace(found, parts=found.parts._replace(params=params))
