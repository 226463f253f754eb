"""Users, their projects and credentials. Users read their own rows; the platform writes them."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    DateTime,
    ForeignKey,
    Index,
    LargeBinary,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.rls import Base, own_rows

_NOW = text("now()")


class UserRow(Base):
    """One person. The e-mail address is stored in lower case, so equality is enough to find it."""

    __tablename__ = "users"
    __policy__ = own_rows()
    __table_args__ = (
        UniqueConstraint("email"),
        CheckConstraint("email = lower(email)", name="email_lower"),
        CheckConstraint("subscription_tier in ('Free', 'Pro', 'Enterprise')", name="tier"),
    )

    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(Text)
    subscription_tier: Mapped[str] = mapped_column(Text, server_default=text("'Free'"))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=_NOW)


class ProjectRow(Base):
    """A user's named folder of jobs and files."""

    __tablename__ = "projects"
    __policy__ = own_rows()
    __table_args__ = (UniqueConstraint("user_id", "name"),)

    project_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey(UserRow.user_id))
    name: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=_NOW)


class ApiKeyRow(Base):
    """An API key: the hash of its secret, never the secret."""

    __tablename__ = "api_keys"
    __policy__ = own_rows()
    __table_args__ = (
        UniqueConstraint("secret_hash"),
        CheckConstraint("octet_length(secret_hash) = 32", name="hash_length"),
        Index(None, "user_id"),
    )

    key_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey(UserRow.user_id))
    project_id: Mapped[UUID | None] = mapped_column(ForeignKey(ProjectRow.project_id))
    name: Mapped[str] = mapped_column(Text)
    prefix: Mapped[str] = mapped_column(Text)
    secret_hash: Mapped[bytes] = mapped_column(LargeBinary)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=_NOW)
    expires_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    revoked_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    last_used_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


class UserIdentityRow(Base):
    """Who a user is at an issuer of tokens."""

    __tablename__ = "user_identity"
    __policy__ = own_rows()
    __table_args__ = (Index(None, "user_id"),)

    issuer: Mapped[str] = mapped_column(Text, primary_key=True)
    subject: Mapped[str] = mapped_column(Text, primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey(UserRow.user_id))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), server_default=_NOW)


class McpTicketRow(Base):
    """A one-time ticket for a WebSocket: its hash, whom it lets in, how long. Gone when used."""

    __tablename__ = "mcp_ticket"
    __policy__ = own_rows()
    __table_args__ = (
        CheckConstraint("octet_length(ticket_hash) = 32", name="hash_length"),
        Index(None, "user_id", "expires_at"),
        Index(None, "expires_at"),
    )

    ticket_hash: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey(UserRow.user_id))
    project_id: Mapped[UUID | None] = mapped_column()
    key_id: Mapped[UUID | None] = mapped_column()
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    client: Mapped[str] = mapped_column(Text)
    issuer: Mapped[str | None] = mapped_column(Text)
    valid_until: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))
