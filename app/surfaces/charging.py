"""How a run is to be charged: by its outcome, or by what it uses up to a cap."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field

from app.billing import Billing, PriceKind, Quote, to_micro
from app.kernel.errors import AppError, Code
from app.kernel.uow import UnitOfWork

Mode = Literal["outcome", "usage"]
BillingMode = Annotated[
    Mode,
    Field(
        description="`outcome`: one price, charged if the run succeeds. `usage`: charged for what"
        " the run uses, however it ends, where the template offers it."
    ),
]
MaxCredits = Annotated[
    Decimal | None,
    Field(
        ge=0,
        max_digits=18,
        decimal_places=6,
        description="The most credits a run in usage mode may cost; without it, twice its high"
        " estimate.",
    ),
]


@dataclass(frozen=True, slots=True)
class Charging:
    """A mode and, in usage mode, the cap in micro-credits."""

    mode: Mode = "outcome"
    max_micro: int | None = None

    @classmethod
    def of(cls, mode: Mode, max_credits: Decimal | None) -> "Charging":
        """What was asked for; `invalid_input` for a cap on a fixed price."""
        if max_credits is not None and mode == "outcome":
            raise AppError(
                Code.INVALID_INPUT,
                "A price by outcome has no cap.",
                hint='Give `max_credits` with `billing: "usage"`, or leave it out.',
                details={"pointer": "/max_credits"},
            )
        return cls(mode, None if max_credits is None else to_micro(max_credits))

    def noted(self) -> dict[str, Any]:
        """What a job's definition says of it; nothing in the usual mode."""
        if self.mode == "outcome":
            return {}
        return {"billing": self.mode, "max_micro": self.max_micro}

    def refuse_usage(self) -> None:
        """Raise for what has a price by outcome only."""
        if self.mode == "usage":
            raise AppError(
                Code.INVALID_INPUT,
                "A tool is charged per answered call, not by usage.",
                hint="Leave `billing` out.",
                details={"pointer": "/billing"},
            )


BY_OUTCOME = Charging()


async def quote(
    billing: Billing, uow: UnitOfWork, kind: PriceKind, name: str, charging: Charging = BY_OUTCOME
) -> Quote:
    """The price of a run; `price_unknown` where the mode is not offered."""
    if charging.mode == "outcome":
        return await billing.quote(uow, kind, name)
    return await billing.quote_usage(uow, kind, name, max_micro=charging.max_micro)
