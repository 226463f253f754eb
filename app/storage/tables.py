"""The rows that say who owns which stored file. The bytes live in a blob store, by content."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, DateTime, ForeignKey, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.rls import Base, own_rows


class FileRow(Base):
    """An uploaded input or a job's artifact; an artifact's name is unique within its job."""

    __tablename__ = "files"
    __policy__ = own_rows()
    __table_args__ = (
        CheckConstraint("kind in ('input', 'artifact')", name="kind"),
        CheckConstraint("kind = 'input' or job_id is not null", name="artifact_has_job"),
        CheckConstraint("size > 0", name="size"),
        CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name="sha256"),
        Index(
            "uq_files_job_id_name",
            "job_id",
            "name",
            unique=True,
            postgresql_where=text("kind = 'artifact'"),
        ),
        # The same bytes under the same name are one upload, however often they are sent.
        Index(
            "uq_files_user_id_sha256_name",
            "user_id",
            "sha256",
            "name",
            unique=True,
            postgresql_where=text("kind = 'input'"),
        ),
        Index(None, "user_id"),
    )

    file_id: Mapped[UUID] = mapped_column(primary_key=True)
    # Named as text: the modules are siblings and do not import each other.
    user_id: Mapped[UUID] = mapped_column(ForeignKey("app.users.user_id"))
    project_id: Mapped[UUID | None] = mapped_column(ForeignKey("app.projects.project_id"))
    job_id: Mapped[UUID | None] = mapped_column()
    kind: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    media_type: Mapped[str] = mapped_column(Text)
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=text("now()")
    )
