"""The port between lanes and whatever tells them which jobs to claim.

A dispatcher only ever hints: the lease is taken in PostgreSQL, with its fencing token, whether a
hint was right, late, doubled or lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class DispatchState:
    """How jobs reach this process: by which member, and what it says if it fails.

    While `is_up` is false, jobs are claimed from PostgreSQL as if there were no broker.
    """

    name: str
    is_up: bool
    reason: str | None = None


class Dispatcher(Protocol):
    """Tells the lanes of one worker which jobs to claim. Only `run` waits for anything."""

    async def run(self) -> None:
        """Work beside the lanes until cancelled; a member with nothing to do returns at once."""

    def take(self, kind: str, limit: int) -> Sequence[UUID] | None:
        """The jobs of a kind to claim now: None for whatever is ready, else these, at most `limit`.

        What was taken and is not `done` is given out again at the next call. When there is more,
        the topic of jobs is woken in this process.
        """

    def done(self, ids: Sequence[UUID]) -> None:
        """The claim of these has committed, whether it got each of them or not."""

    def state(self) -> DispatchState:
        """How it goes."""
