"""The states of a job and the moves between them, as data."""

from collections.abc import Mapping
from typing import Literal, get_args

Status = Literal[
    "Queued", "Running", "Retrying", "Waiting", "Success", "Failed", "Cancelled", "Dead"
]
STATUSES: tuple[str, ...] = get_args(Status)

TRANSITIONS: Mapping[str, frozenset[str]] = {
    "Queued": frozenset({"Running", "Cancelled"}),
    "Running": frozenset({"Success", "Failed", "Retrying", "Waiting", "Cancelled", "Dead"}),
    "Retrying": frozenset({"Running", "Cancelled", "Dead"}),
    "Waiting": frozenset({"Running", "Cancelled", "Failed"}),
    "Success": frozenset(),
    "Failed": frozenset(),
    "Cancelled": frozenset(),
    "Dead": frozenset(),
}
TERMINAL = frozenset(status for status, onward in TRANSITIONS.items() if not onward)

TERMINAL_EVENTS: Mapping[str, str] = {
    "Success": "job.succeeded",
    "Failed": "job.failed",
    "Cancelled": "job.cancelled",
    "Dead": "job.dead",
}


def can_move(before: str, after: str) -> bool:
    """Whether a job may go from one state to the other."""
    return after in TRANSITIONS[before]
