"""Moments and spans of waiting, as a definition or an expression gives them."""

from datetime import UTC, datetime
from typing import Any

from app.orchestration.workflow import limits
from app.orchestration.workflow.expressions import ExpressionError


def parse_moment(text: Any) -> datetime:
    """A moment of RFC 3339 with its offset, as UTC. Raises `ExpressionError`."""
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ExpressionError(f"{str(text)[:60]!r} is no moment such as 2030-01-31T08:00:00Z.")


def parse_seconds(value: Any) -> float:
    """A span in seconds, at most a year. Raises `ExpressionError`."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= limits.LONGEST_WAIT_S:
        raise ExpressionError(
            f"{str(value)[:60]!r} is no number of seconds from 0 to {limits.LONGEST_WAIT_S}."
        )
    return float(value)
