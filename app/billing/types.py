"""Values of billing. One credit is 1,000,000 micro-credits; no amount is ever a float."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from types import MappingProxyType
from typing import Any, Literal, NamedTuple
from uuid import UUID

from app.kernel.errors import AppError, Code

MICRO = 1_000_000
_LARGEST = 2**62  # far inside BIGINT, so that sums cannot overflow
PriceKind = Literal["template", "tool", "workflow"]
PriceMode = Literal["outcome", "usage"]
SettlementKind = Literal["captured", "released"]


def to_micro(amount: str | int | float | Decimal) -> int:
    """Micro-credits of a decimal number of credits; more than six places is an error."""
    try:
        micro = Decimal(str(amount)) * MICRO
    except InvalidOperation:
        micro = Decimal("NaN")
    is_amount = micro.is_finite() and 0 <= micro <= _LARGEST and micro == micro.to_integral_value()
    if not is_amount:
        raise AppError(
            Code.INVALID_INPUT,
            f"{amount!r} is not an amount of credits.",
            hint="Use a number >= 0 with at most six decimal places.",
        )
    return int(micro)


def credits_text(amount_micro: int) -> str:
    """Credits for people: `5`, `0.01`."""
    return format((Decimal(amount_micro) / MICRO).normalize(), "f")


@dataclass(frozen=True, slots=True)
class Price:
    """A published price of a template (per success) or a tool (per answered call)."""

    kind: PriceKind
    name: str
    amount_micro: int
    version: int


@dataclass(frozen=True, slots=True)
class Quote:
    """What a run will cost at most; a job settles at the version it was quoted."""

    kind: PriceKind
    name: str
    mode: PriceMode
    amount_micro: int
    price_version: int


@dataclass(frozen=True, slots=True)
class Wallet:
    """A user's credits: free to spend, held by open runs, and the totals ever granted and spent."""

    user_id: UUID
    available_micro: int
    held_micro: int
    captured_micro: int
    granted_micro: int


class Hold(NamedTuple):
    """Credits set aside for a run; the id is the idempotency key.

    With `lifetime_s` the hold is released by itself when its run died without an end; a job's
    hold has none, because its queue row keeps it alive.
    """

    hold_id: UUID
    user_id: UUID
    amount_micro: int
    lifetime_s: float | None = None


class Usage(NamedTuple):
    """One metered effect of a run; (`job_id`, `key`) is unique, so a resumed run adds nothing."""

    usage_id: UUID
    user_id: UUID
    job_id: UUID | None
    key: str
    kind: Literal["tool", "sandbox", "llm"]
    subject: str
    quantities: Mapping[str, Any] = MappingProxyType({})


class Settlement(NamedTuple):
    """The end of a hold: `captured_micro` are spent, the rest goes back.

    `usage` is what the run used, where it was one call and has no usage events of its own.
    """

    hold_id: UUID
    kind: SettlementKind
    captured_micro: int = 0
    usage: Usage | None = None
