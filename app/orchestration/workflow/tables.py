"""The table `job_steps`: one row per finished step of a workflow, which is also its checkpoint."""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.rls import Base, Policy, own_rows


class JobStepRow(Base):
    """How a step ended. A row exists only once its step has ended, so the rows of a job say
    where to go on after a crash. `attempt` is the try that gave the result, from 1.
    """

    __tablename__ = "job_steps"
    __policy__: ClassVar[Policy] = own_rows()
    __table_args__ = (
        CheckConstraint("status in ('Success', 'Failed', 'Skipped')", name="status"),
        CheckConstraint("attempt >= 1", name="attempt"),
    )

    job_id: Mapped[UUID] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(Text, primary_key=True)
    user_id: Mapped[UUID] = mapped_column(index=True)
    attempt: Mapped[int]
    status: Mapped[str] = mapped_column(Text)
    output: Mapped[Any | None] = mapped_column(JSONB)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    started_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    ended_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
