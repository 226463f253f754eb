"""How a job is queued, whatever it does: when, before which others, within which limit, who is
told.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, BeforeValidator, Field, StringConstraints

from app.kernel.errors import AppError, Code
from app.surfaces.charging import BY_OUTCOME, Charging

FARTHEST = timedelta(days=366)
_MAX_KEY = 128
_MOMENT = re.compile(r"(19[7-9]\d|[2-9]\d\d\d)-\d\d-\d\d[Tt ]")

Priority = Annotated[
    int, Field(ge=-2, le=2, description="From -2 to 2; more runs first, 0 is usual.")
]


def _rfc3339(raw: object) -> object:
    """What the library would also take: Unix seconds, and years that no clock here has."""
    if isinstance(raw, datetime) or (isinstance(raw, str) and _MOMENT.match(raw)):
        return raw
    raise ValueError("not a moment of RFC 3339, such as 2026-01-31T12:00:00Z")


Aware = Annotated[AwareDatetime, BeforeValidator(_rfc3339)]
RunAt = Annotated[
    Aware | None,
    Field(description="Not before this moment (RFC 3339, with offset); at most a year ahead."),
]
LimitKey = Annotated[
    Annotated[str, StringConstraints(min_length=1, max_length=_MAX_KEY)] | None,
    Field(description="Jobs of one key share that key's limits of concurrency and rate."),
]
Webhook = Annotated[UUID | None, Field(description="The id of the endpoint that is told the end.")]


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of one job."""

    idempotency_key: str | None = None
    priority: int = 0
    run_at: datetime | None = None
    limit_key: str | None = None
    webhook: UUID | None = None
    charging: Charging = BY_OUTCOME


USUAL = Terms()


def check_run_at(run_at: datetime | None, now: datetime) -> None:
    """Raise `invalid_input` for a start too far ahead; one that is past means now."""
    if run_at is not None and run_at - now > FARTHEST:
        raise AppError(
            Code.INVALID_INPUT,
            "/run_at: more than a year ahead.",
            hint="Submit the job later, or make a schedule.",
            details={"pointer": "/run_at"},
        )
