"""Tables of billing. `hold`, `settlement`, `transfer` and `usage_event` are only ever inserted."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, DateTime, Index, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.rls import Base, own_rows, readable_when
from app.kernel.vacuum import GROWS, TURNS_OVER

_NOW = text("now()")


class WalletRow(Base):
    """The one small mutable row of a user; room on its page keeps its updates HOT."""

    __tablename__ = "wallet"
    __policy__ = own_rows()
    __vacuum__ = TURNS_OVER
    __table_args__ = (
        CheckConstraint("available_micro >= 0", name="available"),
        CheckConstraint("held_micro >= 0", name="held"),
        {"postgresql_with": {"fillfactor": 20}},
    )
    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    available_micro: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    held_micro: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    captured_micro: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    granted_micro: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))


class HoldRow(Base):
    """Credits set aside; the primary key is the idempotency key."""

    __tablename__ = "hold"
    __policy__ = own_rows(reached_by="hold_id")
    __vacuum__ = GROWS
    __is_append_only__ = True
    __table_args__ = (
        CheckConstraint("amount_micro >= 0", name="amount"),
        Index("ix_hold_expiring", "expires_at", postgresql_where=text("expires_at is not null")),
    )
    hold_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    amount_micro: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=_NOW)
    expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class SettlementRow(Base):
    """The end of a hold. Its primary key makes a second end impossible.

    The statement that inserts it joins the hold, and holds are never deleted: a foreign key
    would say the same once more, for a lock and a write on the hold's row each time. `usage`
    is what a job of one call used, so that such a job needs no row of `usage_event`.
    """

    __tablename__ = "settlement"
    __policy__ = own_rows(reached_by="hold_id")
    __vacuum__ = GROWS
    __is_append_only__ = True
    __table_args__ = (
        CheckConstraint("kind in ('captured', 'released')", name="kind"),
        CheckConstraint("captured_micro >= 0 and released_micro >= 0", name="amounts"),
    )
    hold_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    kind: Mapped[str] = mapped_column(Text)
    captured_micro: Mapped[int] = mapped_column(BigInteger)
    released_micro: Mapped[int] = mapped_column(BigInteger)
    usage: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=_NOW)


class TransferRow(Base):
    """Double entry for grants, top-ups and refunds: one account is debited, one credited."""

    __tablename__ = "transfer"
    __policy__ = own_rows()
    __vacuum__ = GROWS
    __is_append_only__ = True
    __table_args__ = (
        CheckConstraint("amount_micro > 0", name="amount"),
        CheckConstraint("debit <> credit", name="accounts"),
        Index("uq_transfer_cause", "cause_type", "cause_id", "leg", unique=True),
    )
    transfer_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(index=True)
    debit: Mapped[str] = mapped_column(Text)
    credit: Mapped[str] = mapped_column(Text)
    amount_micro: Mapped[int] = mapped_column(BigInteger)
    cause_type: Mapped[str] = mapped_column(Text)
    cause_id: Mapped[str] = mapped_column(Text)
    leg: Mapped[int] = mapped_column(server_default=text("0"))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=_NOW)


class PricingPlanRow(Base):
    """A published price. A change is a new version; running jobs keep theirs."""

    __tablename__ = "pricing_plans"
    __policy__ = readable_when("true")
    __table_args__ = (
        CheckConstraint("kind in ('template', 'tool')", name="kind"),
        CheckConstraint("mode in ('outcome', 'usage')", name="mode"),
        CheckConstraint("amount_micro >= 0", name="amount"),
        Index("uq_pricing_plans_version", "kind", "name", "mode", "version", unique=True),
    )
    plan_id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    version: Mapped[int]
    mode: Mapped[str] = mapped_column(Text, server_default=text("'outcome'"))
    amount_micro: Mapped[int] = mapped_column(BigInteger)
    effective_from: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=_NOW)


class UsageEventRow(Base):
    """What a run used, as it was measured; money is worked out from it, never stored in it."""

    __tablename__ = "usage_event"
    __policy__ = own_rows()
    __vacuum__ = GROWS
    __is_append_only__ = True
    __table_args__ = (
        CheckConstraint("kind in ('tool', 'sandbox', 'llm')", name="kind"),
        Index("uq_usage_event_key", "job_id", "key", unique=True),
    )
    usage_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(index=True)
    job_id: Mapped[UUID | None]
    key: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    quantities: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'"))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=_NOW)
