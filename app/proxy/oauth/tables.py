"""Tables of connections: which servers a user has connected, and connections under way.

Tokens are secrets of the vault, under the name that `store.secret_of` gives.
"""

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
_NONE = text("'{}'")
_TIME = DateTime(timezone=True)


class OAuthConnectionRow(Base):
    """A user's connection with one server, at the origin it had then."""

    __tablename__ = "oauth_connection"
    __policy__ = own_rows()
    __table_args__ = (CheckConstraint("status in ('connected', 'broken')", name="status"),)

    # Named as text: other modules' tables are not imported.
    user_id: Mapped[UUID] = mapped_column(ForeignKey("app.users.user_id"), primary_key=True)
    server: Mapped[str] = mapped_column(Text, primary_key=True)
    origin: Mapped[str] = mapped_column(Text)
    issuer: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text, server_default=text("'connected'"))
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=_NONE)
    wanted_scopes: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=_NONE)
    expires_at: Mapped[datetime | None] = mapped_column(_TIME)
    connected_at: Mapped[datetime] = mapped_column(_TIME, server_default=_NOW)
    refreshed_at: Mapped[datetime] = mapped_column(_TIME, server_default=_NOW)
    #: Until then one process alone may use the refresh token.
    refreshing_until: Mapped[datetime | None] = mapped_column(_TIME)


class OAuthFlowRow(Base):
    """A connection under way: of state and cookie the hashes, all else sealed for this row."""

    __tablename__ = "oauth_flow"
    __policy__ = own_rows()
    __table_args__ = (
        UniqueConstraint("state_hash"),
        Index(None, "user_id", "server"),
        Index(None, "expires_at"),
    )

    flow_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(ForeignKey("app.users.user_id"))
    server: Mapped[str] = mapped_column(Text)
    state_hash: Mapped[bytes] = mapped_column(LargeBinary)
    browser_hash: Mapped[bytes] = mapped_column(LargeBinary)
    kek_id: Mapped[str] = mapped_column(Text)
    wrapped: Mapped[bytes] = mapped_column(LargeBinary)
    ciphertext: Mapped[bytes] = mapped_column(LargeBinary)
    expires_at: Mapped[datetime] = mapped_column(_TIME)
    approved_at: Mapped[datetime | None] = mapped_column(_TIME)
