"""Values of webhooks: endpoints, deliveries, and one attempt of a delivery."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

DeliveryStatus = Literal["pending", "delivered", "failed"]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A user's URL that is told things. `failing_since`: nothing was delivered since then."""

    webhook_id: UUID
    user_id: UUID
    url: str
    description: str
    is_enabled: bool
    disabled_reason: str | None
    failing_since: datetime | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message to one endpoint. `next_at` is its next attempt, None once it has ended."""

    delivery_id: UUID
    webhook_id: UUID
    job_id: UUID | None
    type: str
    status: DeliveryStatus
    attempts: int
    last_status: int | None
    last_error: str | None
    next_at: datetime | None
    created_at: datetime
    delivered_at: datetime | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """A leased delivery. `attempt` is the fencing token, `turn` counts from 1 in this round.

    `sealed` are the secrets it is signed with, encrypted; the newest first.
    """

    delivery_id: UUID
    webhook_id: UUID
    attempt: int
    turn: int
    type: str
    data: Mapping[str, Any]
    created_at: datetime
    url: str
    sealed: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """What became of an attempt. A pending delivery is tried again in `wait_s` seconds.

    `is_gone`: the endpoint says that it is none any more.
    """

    attempt: Attempt
    status: DeliveryStatus
    code: int | None
    error: str | None
    wait_s: float = 0.0
    is_gone: bool = False
