"""Tables of running the queue: schedules, what became of each of their moments, dead letters."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.rls import Base, own_rows

_NOW = text("now()")
_TIME = DateTime(timezone=True)


class JobScheduleRow(Base):
    """A job that is submitted at the moments of a cron expression."""

    __tablename__ = "job_schedule"
    __policy__ = own_rows()
    __table_args__ = (
        UniqueConstraint("user_id", "name"),
        CheckConstraint("priority between -2 and 2", name="priority"),
        CheckConstraint("catch_up in ('skip', 'one', 'all')", name="catch_up"),
        CheckConstraint("catch_up_limit between 1 and 1000", name="catch_up_limit"),
        CheckConstraint("overlap in ('allow', 'skip')", name="overlap"),
        Index("ix_job_schedule_due", "next_at", postgresql_where=text("not is_paused")),
    )
    schedule_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    project_id: Mapped[UUID | None]
    name: Mapped[str] = mapped_column(Text)
    cron: Mapped[str] = mapped_column(Text)
    time_zone: Mapped[str] = mapped_column(Text, server_default=text("'UTC'"))
    job: Mapped[dict[str, Any]] = mapped_column(JSONB)
    priority: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    limit_key: Mapped[str | None] = mapped_column(Text)
    webhook_id: Mapped[UUID | None]
    catch_up: Mapped[str] = mapped_column(Text, server_default=text("'one'"))
    catch_up_limit: Mapped[int] = mapped_column(server_default=text("100"))
    overlap: Mapped[str] = mapped_column(Text, server_default=text("'allow'"))
    is_paused: Mapped[bool] = mapped_column(server_default=text("false"))
    # Grows with every change by the owner, so that a job made from an older text is not queued.
    version: Mapped[int] = mapped_column(server_default=text("1"))
    next_at: Mapped[datetime | None] = mapped_column(_TIME)
    last_at: Mapped[datetime | None] = mapped_column(_TIME)
    last_job_id: Mapped[UUID | None]
    last_error: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(_TIME, server_default=_NOW)
    updated_at: Mapped[datetime] = mapped_column(_TIME, server_default=_NOW)


class ScheduleMomentRow(Base):
    """What became of one moment of a schedule; only the newest of them are kept."""

    __tablename__ = "schedule_moment"
    __policy__ = own_rows()
    __table_args__ = (
        CheckConstraint("outcome in ('Submitted', 'Refused', 'Skipped')", name="outcome"),
    )
    schedule_id: Mapped[UUID] = mapped_column(
        ForeignKey("app.job_schedule.schedule_id", ondelete="CASCADE"), primary_key=True
    )
    moment: Mapped[datetime] = mapped_column(_TIME, primary_key=True)
    user_id: Mapped[UUID] = mapped_column(index=True)
    outcome: Mapped[str] = mapped_column(Text)
    job_id: Mapped[UUID | None]
    error: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(_TIME, server_default=_NOW)


class DeadLetterRow(Base):
    """A job that was put aside as Dead, why, and the job it was redriven as."""

    __tablename__ = "dead_letter"
    __policy__ = own_rows()
    __table_args__ = (
        Index(None, "user_id", "job_id"),
        Index(
            "ix_dead_letter_open",
            "user_id",
            "cause",
            "job_id",
            postgresql_where=text("redriven_as is null"),
        ),
    )
    job_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    kind: Mapped[str] = mapped_column(Text)
    cause: Mapped[str] = mapped_column(Text)
    error: Mapped[dict[str, Any]] = mapped_column(JSONB)
    priority: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    limit_names: Mapped[list[str]] = mapped_column(JSONB, server_default=text("'[]'"))
    webhook_id: Mapped[UUID | None]
    created_at: Mapped[datetime] = mapped_column(_TIME, server_default=_NOW)
    redriven_as: Mapped[UUID | None]
    redriven_at: Mapped[datetime | None] = mapped_column(_TIME)
