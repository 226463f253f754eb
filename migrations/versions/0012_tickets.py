"""Identities at issuers of tokens, and tickets for WebSockets."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def _protect(name: str) -> None:
    for sql in (
        f"alter table app.{name} enable row level security",
        f"alter table app.{name} force row level security",
        f"grant select, insert, update, delete on app.{name} to service_role",
        f"create policy service_all on app.{name} to service_role using (true) with check (true)",
        f"grant select on app.{name} to authenticated",
        f"create policy reader_select on app.{name} for select to authenticated"
        " using ((select auth.uid()) = user_id)",
    ):
        op.execute(sql)


def _index(table: str, *columns: str) -> None:
    op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, list(columns), schema="app")


def _identities() -> None:
    op.create_table(
        "user_identity",
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["app.users.user_id"], name=op.f("fk_user_identity_user_id")
        ),
        sa.PrimaryKeyConstraint("issuer", "subject", name=op.f("pk_user_identity")),
        schema="app",
    )
    _protect("user_identity")
    _index("user_identity", "user_id")


def _tickets() -> None:
    op.create_table(
        "mcp_ticket",
        sa.Column("ticket_hash", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=True),
        sa.Column("key_id", sa.Uuid(), nullable=True),
        sa.Column("scopes", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("client", sa.Text(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=True),
        sa.Column("valid_until", TIME, nullable=True),
        sa.Column("expires_at", TIME, nullable=False),
        sa.CheckConstraint(
            "octet_length(ticket_hash) = 32", name=op.f("ck_mcp_ticket_hash_length")
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["app.users.user_id"], name=op.f("fk_mcp_ticket_user_id")
        ),
        sa.PrimaryKeyConstraint("ticket_hash", name=op.f("pk_mcp_ticket")),
        schema="app",
    )
    _protect("mcp_ticket")
    _index("mcp_ticket", "user_id", "expires_at")
    _index("mcp_ticket", "expires_at")


def upgrade() -> None:
    _identities()
    _tickets()


def downgrade() -> None:
    for name in ("mcp_ticket", "user_identity"):
        op.drop_table(name, schema="app")
