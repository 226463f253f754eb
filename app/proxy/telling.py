"""The way back for a call's progress, from whatever runs the tool to whoever waits for it.

It rides the context of the waiting task, so that nothing between the two has to carry it; a call
that nobody waits for has none.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol


class Teller(Protocol):
    """Takes what `notifications/progress` says."""

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        """Progress, the total if it is known, and a message if there is one."""


_teller: ContextVar[Teller | None] = ContextVar("teller", default=None)


@contextmanager
def telling_to(teller: Teller) -> Iterator[None]:
    """Hand progress of the calls made in this block to `teller`."""
    token = _teller.set(teller)
    try:
        yield
    finally:
        _teller.reset(token)


def teller() -> Teller | None:
    """Who wants the progress of the call that this task makes."""
    return _teller.get()
