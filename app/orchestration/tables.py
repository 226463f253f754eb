"""Tables of jobs. A job's row is inserted once and updated once, at its end; the narrow queue
row beside it carries lease, fencing token and retries while the job lives, and is then deleted.
"""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Index,
    LargeBinary,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.rls import Base, own_rows, readable_when
from app.kernel.vacuum import GROWS, TURNS_OVER
from app.orchestration.states import STATUSES

_NOW = text("now()")
_STATUS_LIST = ", ".join(f"'{status}'" for status in STATUSES)


class ProcessingJobRow(Base):
    """A job. `status` here is Queued until the end; the view `app.jobs` shows it live."""

    __tablename__ = "processing_jobs"
    __policy__ = own_rows()
    __table_args__ = (
        CheckConstraint(f"status in ({_STATUS_LIST})", name="status"),
        Index("ix_processing_jobs_user_id_job_id", "user_id", "job_id"),
        # A partition leaves room for the one update (fillfactor 50), so that it stays on its page.
        {"postgresql_partition_by": "RANGE (job_id)"},
    )
    job_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    project_id: Mapped[UUID | None]
    kind: Mapped[str] = mapped_column(Text)
    workflow_definition: Mapped[dict[str, Any]] = mapped_column(JSONB)
    status: Mapped[str] = mapped_column(Text, server_default=text("'Queued'"))
    price_micro: Mapped[int] = mapped_column(BigInteger)
    price_version: Mapped[int]
    start_time: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=_NOW)
    end_time: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    attempt: Mapped[int] = mapped_column(server_default=text("0"))
    final_output: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    error: Mapped[dict[str, Any] | None] = mapped_column(JSONB)


class JobKeyRow(Base):
    """What a user's idempotency key stands for; a table of its own, because only some jobs have
    one and because a unique index across partitions of jobs is not to be had.
    """

    __tablename__ = "job_key"
    __policy__ = own_rows()
    __vacuum__ = GROWS
    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    job_id: Mapped[UUID] = mapped_column(index=True)
    request_hash: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=_NOW)


class JobQueueRow(Base):
    """A job that has not ended. `attempt` grows with every claim and is the fencing token;
    `lease_until` is in no index, so that claims and heartbeats stay HOT.

    `place` is the order of the ready. A job that is not ready (later, backing off, waiting,
    behind a limit) has none, and no claim ever looks at it.
    """

    __tablename__ = "job_queue"
    __policy__ = own_rows()
    __vacuum__ = TURNS_OVER
    # The functions that drop partitions must see which jobs live.
    __is_read_by_owner__ = True
    __table_args__ = (
        CheckConstraint("priority between -2 and 2", name="priority"),
        CheckConstraint("parked_as in ('Waiting', 'Limited')", name="parked_as"),
        Index("ix_job_queue_ready", "kind", "place", postgresql_where=text("place is not null")),
        Index("ix_job_queue_due", "run_at", postgresql_where=text("place is null")),
        Index("ix_job_queue_owner", "user_id", "kind", "priority", "place"),
        {"postgresql_with": {"fillfactor": 50}},
    )
    job_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    kind: Mapped[str] = mapped_column(Text)
    priority: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    place: Mapped[int | None] = mapped_column(BigInteger)
    parked_as: Mapped[str | None] = mapped_column(Text)
    run_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=_NOW)
    lease_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    worker: Mapped[str | None] = mapped_column(Text)
    attempt: Mapped[int] = mapped_column(server_default=text("0"))
    #: Failed runs and lost leases, and of these the lost leases alone.
    failures: Mapped[int] = mapped_column(server_default=text("0"))
    losses: Mapped[int] = mapped_column(server_default=text("0"))
    is_cancel_requested: Mapped[bool] = mapped_column(server_default=text("false"))
    is_limited: Mapped[bool] = mapped_column(server_default=text("false"))
    webhook_id: Mapped[UUID | None]


class QueuePauseRow(Base):
    """A kind of job that nobody claims for now."""

    __tablename__ = "queue_pause"
    __policy__ = readable_when("true")
    kind: Mapped[str] = mapped_column(Text, primary_key=True)
    reason: Mapped[str] = mapped_column(Text, server_default=text("''"))
    paused_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=_NOW)


class JobEventRow(Base):
    """The trace of a job: append-only, numbered per job, the one source for UI, meter and audit."""

    __tablename__ = "job_events"
    __policy__ = own_rows()
    __is_append_only__ = True
    __table_args__ = (
        Index(
            "uq_job_events_once",
            "job_id",
            "once",
            unique=True,
            postgresql_where=text("once is not null"),
        ),
        {"postgresql_partition_by": "RANGE (job_id)"},
    )
    job_id: Mapped[UUID] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(index=True)
    kind: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, Any]] = mapped_column(JSONB)
    once: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=text("clock_timestamp()")
    )
