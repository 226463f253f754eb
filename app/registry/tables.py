"""Tables of the registry: the tools that exist, and every definition each of them ever had.

A tool's row holds its present state; its definitions are append-only, so that what was approved
can always be shown next to what the server says now.
"""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    DateTime,
    Double,
    ForeignKey,
    Integer,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.rls import Base, Policy, readable_when, service_only


class McpTool(Base):
    """A tool by its full name `<server>.<tool>`; `credit_cost_per_call` is in micro-credits.

    `approved_version` names the definition calls are checked against, `latest_version` the one
    the server gave last; `is_listed` is false while the server no longer offers the tool.
    """

    __tablename__ = "mcp_tools"
    __policy__: ClassVar[Policy] = readable_when("status = 'Approved'")
    __table_args__ = (
        CheckConstraint("status in ('Pending', 'Approved', 'Disabled')", name="status"),
        CheckConstraint("credit_cost_per_call >= 0", name="cost"),
        CheckConstraint("timeout_s > 0", name="timeout"),
        CheckConstraint("calls_per_minute > 0", name="rate"),
    )

    tool_id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    server: Mapped[str] = mapped_column(Text, index=True)
    gateway_url: Mapped[str] = mapped_column(Text)
    credit_cost_per_call: Mapped[int] = mapped_column(BigInteger)
    timeout_s: Mapped[float] = mapped_column(Double)
    calls_per_minute: Mapped[int | None] = mapped_column(Integer)
    developer_id: Mapped[UUID | None] = mapped_column(index=True)
    status: Mapped[str] = mapped_column(Text, index=True)
    latest_version: Mapped[int] = mapped_column(Integer)
    approved_version: Mapped[int | None] = mapped_column(Integer)
    is_listed: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
    deprecated_message: Mapped[str | None] = mapped_column(Text)
    successor: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=text("now()")
    )
    updated_at: Mapped[datetime] = mapped_column(
        DateTime(timezone=True), server_default=text("now()")
    )


class ToolVersion(Base):
    """One definition of a tool, by its canonical sha256; only its approval is ever added."""

    __tablename__ = "tool_versions"
    __policy__: ClassVar[Policy] = service_only()
    __table_args__ = (
        UniqueConstraint("tool_id", "sha256"),
        CheckConstraint("version > 0", name="version"),
    )

    tool_id: Mapped[UUID] = mapped_column(
        ForeignKey("app.mcp_tools.tool_id", ondelete="CASCADE"), primary_key=True
    )
    version: Mapped[int] = mapped_column(Integer, primary_key=True)
    sha256: Mapped[str] = mapped_column(Text)
    definition: Mapped[dict[str, Any]] = mapped_column(JSONB)
    seen_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=text("now()"))
    approved_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
