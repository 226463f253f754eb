"""The kernel's own tables: the outbox of cross-module facts and the audit log."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, Index, Integer, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.rls import Base, service_only
from app.kernel.vacuum import GROWS, TURNS_OVER

_NOW = text("now()")


class OutboxRow(Base):
    """A fact written in the transaction that made it true, delivered at least once."""

    __tablename__ = "outbox"
    __policy__ = service_only()
    __vacuum__ = TURNS_OVER
    __table_args__ = (
        CheckConstraint("attempts >= 0", name="attempts"),
        Index(
            "ix_outbox_pending",
            "available_at",
            "event_id",
            postgresql_where=text("done_at is null"),
        ),
    )

    event_id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    payload: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=_NOW)
    attempts: Mapped[int] = mapped_column(Integer, server_default=text("0"))
    available_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=_NOW)
    done_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    last_error: Mapped[str | None] = mapped_column(Text)


class AuditRow(Base):
    """Who did what to what. Written by the platform only; never updated."""

    __tablename__ = "audit_log"
    __policy__ = service_only()
    __vacuum__ = GROWS
    __is_append_only__ = True
    __table_args__ = (Index(None, "user_id", "entry_id"), Index(None, "subject", "entry_id"))

    entry_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID | None] = mapped_column()
    actor: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    details: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=_NOW)
