"""Tables of usage mode. Rates and the links of top-ups are only ever inserted."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    ForeignKey,
    Numeric,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.rls import Base, own_rows, readable_when
from app.kernel.vacuum import GROWS, TURNS_OVER

_NOW = text("now()")


class UsageRateRow(Base):
    """One rate of a published plan; a change is a new version of the plan."""

    __tablename__ = "usage_rate"
    __policy__ = readable_when("true")
    __is_append_only__ = True
    __table_args__ = (
        CheckConstraint("kind in ('tool', 'sandbox', 'llm')", name="kind"),
        CheckConstraint("per_units > 0 and amount_micro >= 0", name="rate"),
        CheckConstraint("low_units >= 0 and low_units <= high_units", name="units"),
    )
    plan_id: Mapped[UUID] = mapped_column(ForeignKey("app.pricing_plans.plan_id"), primary_key=True)
    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    subject: Mapped[str] = mapped_column(Text, primary_key=True)
    unit: Mapped[str] = mapped_column(Text, primary_key=True)
    per_units: Mapped[int] = mapped_column(BigInteger)
    amount_micro: Mapped[int] = mapped_column(BigInteger)
    low_units: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    high_units: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))


class UsageAccountRow(Base):
    """A job's running sum, beside the rates it was quoted. Whoever writes it has the job's queue
    row locked. `used_parts` is exact: `parts_per_micro` of them are a micro-credit.
    """

    __tablename__ = "usage_account"
    __policy__ = own_rows()
    __vacuum__ = TURNS_OVER
    __table_args__ = (
        CheckConstraint("cap_micro >= held_micro and held_micro >= first_micro", name="held"),
        CheckConstraint("first_micro >= 0 and used_parts >= 0", name="amounts"),
        {"postgresql_with": {"fillfactor": 70}},
    )
    job_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(index=True)
    rates: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    cap_micro: Mapped[int] = mapped_column(BigInteger)
    first_micro: Mapped[int] = mapped_column(BigInteger)
    held_micro: Mapped[int] = mapped_column(BigInteger)
    used_parts: Mapped[Decimal] = mapped_column(Numeric, server_default=text("0"))
    opened_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=_NOW)


class JobHoldRow(Base):
    """A hold that topped up a job's first one, whose id is the job's."""

    __tablename__ = "job_hold"
    __policy__ = own_rows()
    __vacuum__ = GROWS
    __is_append_only__ = True
    hold_id: Mapped[UUID] = mapped_column(primary_key=True)
    job_id: Mapped[UUID] = mapped_column(index=True)
    user_id: Mapped[UUID] = mapped_column(index=True)
