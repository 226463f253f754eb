"""How long the server waits for a client that stalls: within a request, or in taking an answer.

uvicorn itself closes idle connections only. A client that sends a request drop by drop
("slow loris"), that reads no answer, or that goes on sending what was refused long ago, would
hold its connection, and what waits behind it, for ever.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Of a body, in the time that a client may stall: less is no progress.
_LEAST_BYTES = 1024
# Read and thrown away after an answer, so that the client sees it: as nginx's lingering close.
_LINGER_BYTES = 1024 * 1024
_SWEEPS = 4


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's, that knows whether its client makes progress."""

    def __init__(self, *args: Any, **keys: Any) -> None:
        super().__init__(*args, **keys)
        self._received = 0
        self._unwanted = 0
        self._resumed = 0
        self._waits_for: tuple[object, ...] | None = None
        self._since = 0.0

    def on_message_begin(self) -> None:
        """See httptools."""
        self._received = self._unwanted = 0
        super().on_message_begin()

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        self._received += len(body)
        if self.cycle.response_complete:
            self._unwanted += len(body)
            if self._unwanted > _LINGER_BYTES:
                self.transport.close()
        super().on_body(body)

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._resumed += 1
        super().resume_writing()

    def check(self, now: float, longest_s: float) -> None:
        """End the connection if its client has made no progress for so long."""
        waits_for = self._state()
        if waits_for is None or waits_for != self._waits_for:
            self._waits_for, self._since = waits_for, now
        elif now - self._since >= longest_s:
            self.transport.abort()

    def _state(self) -> tuple[object, ...] | None:
        """What the client has to do next, with how far it is; None if it is not its turn."""
        cycle = self.cycle
        if self.flow.write_paused:
            return "answer", self._resumed, self.transport.get_write_buffer_size()
        if cycle is None or cycle.response_complete:
            # Between requests uvicorn's own timer runs.
            return None if self.timeout_keep_alive_task else ("head", cycle)
        if cycle.more_body and not self.flow.read_paused:
            return "body", cycle, self._received // _LEAST_BYTES
        return None


async def watch(connections: set[Any], longest_s: float) -> None:
    """Check the connections of a server until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(longest_s / _SWEEPS)
        now = loop.time()
        for one in list(connections):
            if isinstance(one, PatientProtocol):
                one.check(now, longest_s)
