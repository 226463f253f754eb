"""Values of limits: the numbers somebody sets, and what is shown of a limit and its line."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from app.orchestration.limits.names import Scope


@dataclass(frozen=True, slots=True)
class Numbers:
    """What a limit allows; None is without limit. `burst` starts may come at once."""

    max_running: int | None = None
    rate_per_minute: int | None = None
    burst: int = 1
    is_paused: bool = False


@dataclass(frozen=True, slots=True)
class Limit:
    """A limit as it stands. `inherits` names the default whose numbers apply, if it has none.

    `running` jobs hold it, `waiting` stand in its line (counted up to 10,000).
    """

    name: str
    user_id: UUID | None
    scope: Scope
    inherits: str | None
    max_running: int | None
    rate_per_minute: int | None
    burst: int | None
    is_paused: bool
    running: int
    waiting: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job in a line; `position` counts from 1, over all users' jobs."""

    job_id: UUID
    user_id: UUID
    priority: int
    position: int


@dataclass(frozen=True, slots=True)
class LimitQueue:
    """Who holds a limit (the first 100) and a page of who waits; `after` continues the page."""

    limit: Limit
    running: Sequence[UUID]
    waiting: Sequence[Waiting]
    after: str | None
