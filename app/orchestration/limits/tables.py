"""Tables of limits: a limit's numbers and state, and who holds it or stands in its line."""

from datetime import datetime
from typing import ClassVar
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Index,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.rls import Base, Policy, own_rows
from app.kernel.vacuum import TURNS_OVER

_IN_LINE = text("is_in_line")


class JobLimitRow(Base):
    """A limit. `inherits` names the default whose numbers apply; such a row comes with its first
    job and goes when nobody needs it. The row's lock is what orders all changes of its slots.
    """

    __tablename__ = "job_limit"
    __policy__: ClassVar[Policy] = own_rows()
    __vacuum__ = TURNS_OVER
    __table_args__ = (
        CheckConstraint("scope in ('user', 'tool', 'key')", name="scope"),
        CheckConstraint("max_running >= 0", name="max_running"),
        CheckConstraint("rate_per_minute >= 1 and burst >= 1", name="rate"),
        CheckConstraint("in_use >= 0", name="in_use"),
        Index("ix_job_limit_wake_at", "wake_at", postgresql_where=text("wake_at is not null")),
        Index("ix_job_limit_inherits", "inherits", postgresql_where=text("inherits is not null")),
        Index(
            "ix_job_limit_platform",
            "name",
            postgresql_where=text("user_id is null and inherits is null"),
        ),
        # Rewritten with every admission: room, so that it stays on its page.
        {"postgresql_with": {"fillfactor": 50}},
    )
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    user_id: Mapped[UUID | None] = mapped_column(index=True)
    scope: Mapped[str] = mapped_column(Text)
    inherits: Mapped[str | None] = mapped_column(Text)
    max_running: Mapped[int | None]
    rate_per_minute: Mapped[int | None]
    burst: Mapped[int | None]
    is_paused: Mapped[bool] = mapped_column(server_default=text("false"))
    in_use: Mapped[int] = mapped_column(server_default=text("0"))
    turn: Mapped[int] = mapped_column(BigInteger, server_default=text("0"))
    tat: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    wake_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class JobSlotRow(Base):
    """A job and one of its limits. It holds all of them, or stands in the line of one, or is due
    later. `turn` is its place in this limit's line, kept once given.
    """

    __tablename__ = "job_slot"
    __policy__: ClassVar[Policy] = own_rows()
    __vacuum__ = TURNS_OVER
    __table_args__ = (
        CheckConstraint("not (is_held and is_in_line)", name="one_of_two"),
        Index(
            "ix_job_slot_line",
            "name",
            "turn",
            text("priority desc"),
            "job_id",
            postgresql_where=_IN_LINE,
        ),
        Index("ix_job_slot_held", "name", "job_id", postgresql_where=text("is_held")),
        Index("ix_job_slot_due", "due_at", postgresql_where=text("due_at is not null")),
        Index("ix_job_slot_user_id", "user_id", "name", "is_in_line", "priority", "turn"),
    )
    job_id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    user_id: Mapped[UUID]
    priority: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    turn: Mapped[int | None] = mapped_column(BigInteger)
    is_held: Mapped[bool] = mapped_column(server_default=text("false"))
    is_in_line: Mapped[bool] = mapped_column(server_default=text("false"))
    due_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
