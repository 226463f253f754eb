"""Tables of registered servers: the servers, their versions, and what developers are told."""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.rls import Base, Policy, own_rows

_NOW = text("now()")
_TIME = DateTime(timezone=True)
_STATUS = "status in ('Draft', 'Pending', 'Approved', 'Disabled')"


class McpServer(Base):
    """A server that a developer (`user_id`) registered; its slug begins its tools' names.

    `offer` holds prices, time limits and rates, which change without a new version.
    """

    __tablename__ = "mcp_servers"
    __policy__: ClassVar[Policy] = own_rows()
    __table_args__ = (
        CheckConstraint(_STATUS, name="status"),
        Index(None, "user_id", "server_id"),
        Index(None, "status", "server_id"),
    )

    server_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    slug: Mapped[str] = mapped_column(Text, unique=True)
    name: Mapped[str] = mapped_column(Text, unique=True)
    status: Mapped[str] = mapped_column(Text, server_default=text("'Draft'"))
    offer: Mapped[dict[str, Any]] = mapped_column(JSONB)
    latest_version: Mapped[int] = mapped_column(Integer)
    approved_version: Mapped[int | None] = mapped_column(Integer)
    deprecated_message: Mapped[str | None] = mapped_column(Text)
    successor: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(_TIME, server_default=_NOW)
    updated_at: Mapped[datetime] = mapped_column(_TIME, server_default=_NOW)


class McpServerVersion(Base):
    """One version of a server: its server.json, its address, and what it offered when submitted.

    Once it is no draft any more, only its status and what was decided about it change.
    """

    __tablename__ = "mcp_server_versions"
    __policy__: ClassVar[Policy] = own_rows()
    __table_args__ = (
        UniqueConstraint("server_id", "version"),
        CheckConstraint("number > 0", name="number"),
        CheckConstraint(_STATUS, name="status"),
        Index(None, "user_id", "server_id"),
    )

    server_id: Mapped[UUID] = mapped_column(
        ForeignKey("app.mcp_servers.server_id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    user_id: Mapped[UUID]
    version: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text, server_default=text("'Draft'"))
    document: Mapped[dict[str, Any]] = mapped_column(JSONB)
    address: Mapped[dict[str, Any]] = mapped_column(JSONB)
    definitions: Mapped[list[Any]] = mapped_column(JSONB, server_default=text("'[]'"))
    findings: Mapped[list[Any]] = mapped_column(JSONB, server_default=text("'[]'"))
    reason: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(_TIME, server_default=_NOW)
    submitted_at: Mapped[datetime | None] = mapped_column(_TIME)
    approved_at: Mapped[datetime | None] = mapped_column(_TIME)


class RegistryNotice(Base):
    """Something a developer is told: a tool was quarantined, a version approved or returned."""

    __tablename__ = "registry_notice"
    __policy__: ClassVar[Policy] = own_rows()
    __table_args__ = (Index(None, "user_id", "notice_id"),)

    notice_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    slug: Mapped[str] = mapped_column(Text)
    kind: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    details: Mapped[dict[str, Any]] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(_TIME, server_default=_NOW)
