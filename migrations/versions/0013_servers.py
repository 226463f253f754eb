"""Servers that developers register."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
NOW = sa.text("now()")
JSON = postgresql.JSONB(astext_type=sa.Text())
STATUS = "status in ('Draft', 'Pending', 'Approved', 'Disabled')"


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


def _servers() -> None:
    op.create_table(
        "mcp_servers",
        sa.Column("server_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'Draft'"), nullable=False),
        sa.Column("offer", JSON, nullable=False),
        sa.Column("latest_version", sa.Integer(), nullable=False),
        sa.Column("approved_version", sa.Integer(), nullable=True),
        sa.Column("deprecated_message", sa.Text(), nullable=True),
        sa.Column("successor", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", TIME, server_default=NOW, nullable=False),
        sa.Column("updated_at", TIME, server_default=NOW, nullable=False),
        sa.CheckConstraint(STATUS, name=op.f("ck_mcp_servers_status")),
        sa.PrimaryKeyConstraint("server_id", name=op.f("pk_mcp_servers")),
        sa.UniqueConstraint("slug", name=op.f("uq_mcp_servers_slug")),
        sa.UniqueConstraint("name", name=op.f("uq_mcp_servers_name")),
        schema="app",
    )
    _protect("mcp_servers")
    _index("mcp_servers", "user_id", "server_id")
    _index("mcp_servers", "status", "server_id")


def _versions() -> None:
    op.create_table(
        "mcp_server_versions",
        sa.Column("server_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'Draft'"), nullable=False),
        sa.Column("document", JSON, nullable=False),
        sa.Column("address", JSON, nullable=False),
        sa.Column("definitions", JSON, server_default=sa.text("'[]'"), nullable=False),
        sa.Column("findings", JSON, server_default=sa.text("'[]'"), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("created_at", TIME, server_default=NOW, nullable=False),
        sa.Column("submitted_at", TIME, nullable=True),
        sa.Column("approved_at", TIME, nullable=True),
        sa.CheckConstraint("number > 0", name=op.f("ck_mcp_server_versions_number")),
        sa.CheckConstraint(STATUS, name=op.f("ck_mcp_server_versions_status")),
        sa.ForeignKeyConstraint(
            ["server_id"],
            ["app.mcp_servers.server_id"],
            name=op.f("fk_mcp_server_versions_server_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("server_id", "number", name=op.f("pk_mcp_server_versions")),
        sa.UniqueConstraint(
            "server_id", "version", name=op.f("uq_mcp_server_versions_server_id_version")
        ),
        schema="app",
    )
    _protect("mcp_server_versions")
    _index("mcp_server_versions", "user_id", "server_id")


def _notices() -> None:
    op.create_table(
        "registry_notice",
        sa.Column("notice_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("slug", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("details", JSON, nullable=False),
        sa.Column("created_at", TIME, server_default=NOW, nullable=False),
        sa.PrimaryKeyConstraint("notice_id", name=op.f("pk_registry_notice")),
        schema="app",
    )
    _protect("registry_notice")
    _index("registry_notice", "user_id", "notice_id")


def upgrade() -> None:
    _servers()
    _versions()
    _notices()
    for column in (
        sa.Column("calls_per_minute", sa.Integer(), nullable=True),
        sa.Column("deprecated_message", sa.Text(), nullable=True),
        sa.Column("successor", sa.Text(), nullable=True),
    ):
        op.add_column("mcp_tools", column, schema="app")
    op.create_check_constraint(
        op.f("ck_mcp_tools_rate"), "mcp_tools", "calls_per_minute > 0", schema="app"
    )


def downgrade() -> None:
    op.drop_constraint(op.f("ck_mcp_tools_rate"), "mcp_tools", schema="app")
    for column in ("successor", "deprecated_message", "calls_per_minute"):
        op.drop_column("mcp_tools", column, schema="app")
    for name in ("registry_notice", "mcp_server_versions", "mcp_servers"):
        op.drop_table(name, schema="app")
