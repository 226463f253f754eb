"""Tables of workflow runs: steps that have ended, and waits for a time or a person.

Their rows are the checkpoint of a run and, by the view `app.job_lines`, lines of its trace:
`seq` is the line's place in it, so that no step is written twice.
"""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, Index, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.rls import Base, Policy, own_rows


class JobStepRow(Base):
    """How a step ended. A row exists only once its step has ended, so the rows of a job say
    where to go on after a crash. `attempt` is the try that gave the result, from 1; `seq` and
    `started_seq` are null where no line is told of it, as of a step kept from another job.
    """

    __tablename__ = "job_steps"
    __policy__: ClassVar[Policy] = own_rows()
    __table_args__ = (
        CheckConstraint("status in ('Success', 'Failed', 'Skipped')", name="status"),
        CheckConstraint("attempt >= 1", name="attempt"),
        {"postgresql_partition_by": "RANGE (job_id)"},
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
    started_seq: Mapped[int | None]
    seq: Mapped[int | None]


class JobWaitRow(Base):
    """A wait that a run has come to. With a `title` it is a question: the user named may answer
    it once, until `due_at`; else the wait is over at `due_at`. Kept when it is over.
    """

    __tablename__ = "job_waits"
    __policy__: ClassVar[Policy] = own_rows()
    __table_args__ = (
        CheckConstraint("title is not null or due_at is not null", name="ends"),
        CheckConstraint("answered_at is null or answer is not null", name="answer"),
        Index(
            "ix_job_waits_open",
            "user_id",
            "job_id",
            postgresql_where=text("title is not null and answered_at is null"),
        ),
    )

    job_id: Mapped[UUID] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(Text, primary_key=True)
    user_id: Mapped[UUID] = mapped_column(index=True)
    seq: Mapped[int]
    since: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=text("now()"))
    due_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    title: Mapped[str | None] = mapped_column(Text)
    form: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    answer: Mapped[Any | None] = mapped_column(JSONB)
    answered_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    answered_by: Mapped[UUID | None]
