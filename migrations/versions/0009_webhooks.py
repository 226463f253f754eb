"""Webhooks."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
JSON = postgresql.JSONB(astext_type=sa.Text())


def _protect(name: str, *, is_readable: bool) -> None:
    for sql in (
        f"alter table app.{name} enable row level security",
        f"alter table app.{name} force row level security",
        f"grant select, insert, update, delete on app.{name} to service_role",
        f"create policy service_all on app.{name} to service_role using (true) with check (true)",
    ):
        op.execute(sql)
    if is_readable:
        op.execute(f"grant select on app.{name} to authenticated")
        op.execute(
            f"create policy reader_select on app.{name} for select to authenticated"
            " using ((select auth.uid()) = user_id)"
        )


def _endpoints() -> None:
    op.create_table(
        "webhook_endpoint",
        sa.Column("webhook_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("is_enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.Column("failing_since", TIME, nullable=True),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("webhook_id", name=op.f("pk_webhook_endpoint")),
        schema="app",
    )
    _protect("webhook_endpoint", is_readable=True)
    op.create_index(
        op.f("ix_webhook_endpoint_user_id_webhook_id"),
        "webhook_endpoint",
        ["user_id", "webhook_id"],
        schema="app",
    )


def _secrets() -> None:
    op.create_table(
        "webhook_secret",
        sa.Column("webhook_id", sa.Uuid(), nullable=False),
        sa.Column("key_id", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("previous", sa.LargeBinary(), nullable=True),
        sa.Column("previous_until", TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["webhook_id"],
            ["app.webhook_endpoint.webhook_id"],
            name=op.f("fk_webhook_secret_webhook_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("webhook_id", name=op.f("pk_webhook_secret")),
        schema="app",
    )
    _protect("webhook_secret", is_readable=False)


def _deliveries() -> None:
    op.create_table(
        "webhook_delivery",
        sa.Column("delivery_id", sa.Uuid(), nullable=False),
        sa.Column("webhook_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("data", JSON, nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'pending'"), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("attempts_before", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("is_leased", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("last_status", sa.Integer(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("next_at", TIME, server_default=sa.text("now()"), nullable=True),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("delivered_at", TIME, nullable=True),
        sa.CheckConstraint(
            "status in ('pending', 'delivered', 'failed')",
            name=op.f("ck_webhook_delivery_status"),
        ),
        sa.PrimaryKeyConstraint("delivery_id", name=op.f("pk_webhook_delivery")),
        schema="app",
    )
    _protect("webhook_delivery", is_readable=True)
    op.create_index(
        op.f("ix_webhook_delivery_user_id_webhook_id_delivery_id"),
        "webhook_delivery",
        ["user_id", "webhook_id", "delivery_id"],
        schema="app",
    )
    op.create_index(
        "ix_webhook_delivery_due",
        "webhook_delivery",
        ["webhook_id", "next_at"],
        schema="app",
        postgresql_where=sa.text("status = 'pending'"),
    )


def upgrade() -> None:
    _endpoints()
    _secrets()
    _deliveries()


def downgrade() -> None:
    for name in ("webhook_delivery", "webhook_secret", "webhook_endpoint"):
        op.drop_table(name, schema="app")
