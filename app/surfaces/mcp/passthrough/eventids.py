"""Ids of a server's events, sealed with what was asked on their stream.

A client before 2026-07-28 goes on with a stream that broke off by naming the last event it saw.
That id then says what the stream answers, so that any process pays for an answer, and cuts it, as
it would have been on its own stream. Of another session, server or owner it is none.
"""

from dataclasses import dataclass
from uuid import UUID

import orjson

from app.proxy import cut, make_response
from app.surfaces.mcp.passthrough.states import States

_EVENT = "event"


@dataclass(frozen=True, slots=True)
class Asked:
    """The request that a stream answers; `call_id` and `tool` are those of a `tools/call`.

    `request_id` is its client's, `sent_id` the one by which the server knows it.
    """

    method: str
    request_id: bytes
    sent_id: bytes
    call_id: UUID | None = None
    tool: str = ""

    def named(self, message: bytes) -> bytes:
        """The answer to it under its client's id; any other message as it is."""
        if self.sent_id == self.request_id:
            return message
        try:
            parts = cut(message)
        except ValueError:
            return message
        if not parts.is_answer or parts.id != self.sent_id:
            return message
        return make_response(parts._replace(id=self.request_id))


class EventIds:
    """The ids of one session's events. `session` is the server's own id of it, if it has one."""

    def __init__(self, states: States, owner: str, server: str, session: str | None) -> None:
        self._states, self._owner = states, owner
        self._place = (_EVENT, server, session or "")

    def seal(self, event_id: bytes, asked: Asked | None) -> bytes:
        """The id as the client gets it; `asked` is None where the server speaks by itself."""
        if not event_id:
            # It says that there is no last event.
            return event_id
        told = [event_id.decode("latin-1")]
        if asked is not None:
            ids = asked.request_id.decode(), asked.sent_id.decode(), str(asked.call_id or "")
            told += [asked.method, *ids, asked.tool]
        state = orjson.dumps(told).decode()
        return self._states.seal(state, self._owner, *self._place).encode()

    def open(self, sealed: str) -> tuple[str, Asked | None] | None:
        """The server's own id, and what was asked on its stream; None for what is no such id."""
        state = self._states.open(sealed, self._owner, *self._place)
        if state is None:
            return None
        event_id, *rest = orjson.loads(state)
        if not rest:
            return event_id, None
        method, request_id, sent_id, call_id, tool = rest
        whose = UUID(call_id) if call_id else None
        return event_id, Asked(method, request_id.encode(), sent_id.encode(), whose, tool)
