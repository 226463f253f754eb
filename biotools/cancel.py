"""Cooperative cancellation of CPU work that runs in a worker thread.

The server sets the event when the client cancels the call or goes away; long loops call
`check_cancelled` between blocks, so that no abandoned thread goes on burning a core.
"""

import threading
from contextvars import ContextVar

stop_event: ContextVar[threading.Event | None] = ContextVar("biotools_stop_event", default=None)


class CallCancelledError(Exception):
    """The call this thread works for was cancelled."""


def check_cancelled() -> None:
    """Raise `CallCancelledError` if the call was cancelled; free outside a server."""
    event = stop_event.get()
    if event is not None and event.is_set():
        raise CallCancelledError
