"""The table `workflow_definitions`: definitions that users have saved under a name."""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.rls import Base, Policy, own_rows


class WorkflowDefinitionRow(Base):
    """One version of a saved definition; its definition never changes.

    A deleted one stays as a row, so that its numbers are never given to something else.
    """

    __tablename__ = "workflow_definitions"
    __policy__: ClassVar[Policy] = own_rows()
    __table_args__ = (CheckConstraint("version >= 1", name="version"),)

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text, primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str | None] = mapped_column(Text)
    definition: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=text("now()")
    )
    deleted_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
