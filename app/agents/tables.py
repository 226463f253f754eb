"""The table `agent_runs`: one row per finished role and attempt, which is also the checkpoint."""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, Index, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.rls import Base, Policy, own_rows


class AgentRunRow(Base):
    """What one role did at one attempt; `output` is its update of the state, as JSON.

    A row exists only once its role has ended, so the rows of a job say where to go on
    after a crash. `step` is the order in which the roles ended, from 0. `path` is the step of
    a workflow that the role worked for, empty where the task is the whole job.
    """

    __tablename__ = "agent_runs"
    __policy__: ClassVar[Policy] = own_rows()
    __table_args__ = (
        UniqueConstraint("job_id", "path", "role", "attempt"),
        CheckConstraint("status in ('Success', 'Refused', 'Failed')", name="status"),
        CheckConstraint("attempt >= 1", name="attempt"),
        CheckConstraint("duration_ms >= 0", name="duration"),
        CheckConstraint("prompt_tokens >= 0 and completion_tokens >= 0", name="tokens"),
        Index(None, "user_id"),
        Index(None, "project_id"),
    )

    run_id: Mapped[UUID] = mapped_column(primary_key=True)
    job_id: Mapped[UUID]
    user_id: Mapped[UUID]
    project_id: Mapped[UUID | None]
    path: Mapped[str] = mapped_column(Text, server_default=text("''"))
    step: Mapped[int]
    role: Mapped[str] = mapped_column(Text)
    attempt: Mapped[int]
    status: Mapped[str] = mapped_column(Text)
    summary: Mapped[str] = mapped_column(Text, server_default="")
    started_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
    ended_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=text("now()")
    )
    duration_ms: Mapped[int]
    prompt_tokens: Mapped[int] = mapped_column(server_default=text("0"))
    completion_tokens: Mapped[int] = mapped_column(server_default=text("0"))
    output: Mapped[dict[str, Any]] = mapped_column(JSONB)
