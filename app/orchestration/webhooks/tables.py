"""Tables of webhooks: endpoints, their secrets (the platform's alone), and deliveries."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, DateTime, ForeignKey, Index, LargeBinary, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from app.kernel.rls import Base, own_rows, service_only

_NOW = text("now()")
_TIME = DateTime(timezone=True)


class WebhookEndpointRow(Base):
    """A URL of a user that is told of the ends of jobs."""

    __tablename__ = "webhook_endpoint"
    __policy__ = own_rows()
    __table_args__ = (Index(None, "user_id", "webhook_id"),)
    webhook_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID]
    url: Mapped[str] = mapped_column(Text)
    description: Mapped[str] = mapped_column(Text, server_default=text("''"))
    is_enabled: Mapped[bool] = mapped_column(server_default=text("true"))
    disabled_reason: Mapped[str | None] = mapped_column(Text)
    failing_since: Mapped[datetime | None] = mapped_column(_TIME)
    created_at: Mapped[datetime] = mapped_column(_TIME, server_default=_NOW)


class WebhookSecretRow(Base):
    """What an endpoint's messages are signed with, encrypted by the key `key_id`."""

    __tablename__ = "webhook_secret"
    __policy__ = service_only()
    webhook_id: Mapped[UUID] = mapped_column(
        ForeignKey("app.webhook_endpoint.webhook_id", ondelete="CASCADE"), primary_key=True
    )
    key_id: Mapped[str] = mapped_column(Text)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    previous: Mapped[bytes | None] = mapped_column(LargeBinary)
    previous_until: Mapped[datetime | None] = mapped_column(_TIME)


class WebhookDeliveryRow(Base):
    """A message to an endpoint. No foreign key: the end of a job locks no endpoint."""

    __tablename__ = "webhook_delivery"
    __policy__ = own_rows()
    __table_args__ = (
        CheckConstraint("status in ('pending', 'delivered', 'failed')", name="status"),
        Index(None, "user_id", "webhook_id", "delivery_id"),
        Index(
            "ix_webhook_delivery_due",
            "webhook_id",
            "next_at",
            postgresql_where=text("status = 'pending'"),
        ),
    )
    delivery_id: Mapped[UUID] = mapped_column(primary_key=True)
    webhook_id: Mapped[UUID]
    user_id: Mapped[UUID]
    job_id: Mapped[UUID | None]
    type: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, Any]] = mapped_column(JSONB)
    status: Mapped[str] = mapped_column(Text, server_default=text("'pending'"))
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    # Attempts made before it was sent anew; the rest decide how long to wait.
    attempts_before: Mapped[int] = mapped_column(server_default=text("0"))
    is_leased: Mapped[bool] = mapped_column(server_default=text("false"))
    last_status: Mapped[int | None]
    last_error: Mapped[str | None] = mapped_column(Text)
    # The end of the lease while an attempt is under way.
    next_at: Mapped[datetime | None] = mapped_column(_TIME, server_default=_NOW)
    created_at: Mapped[datetime] = mapped_column(_TIME, server_default=_NOW)
    delivered_at: Mapped[datetime | None] = mapped_column(_TIME)
