"""The vault and connections."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
TEXTS = postgresql.ARRAY(sa.Text())
NOW, NONE = sa.text("now()"), sa.text("'{}'")


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


def _secrets() -> None:
    op.create_table(
        "vault_secret",
        sa.Column("secret_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=True),
        sa.Column("holder", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("origins", TEXTS, server_default=NONE, nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", TIME, server_default=NOW, nullable=False),
        sa.Column("changed_at", TIME, server_default=NOW, nullable=False),
        sa.Column("used_at", TIME, nullable=True),
        sa.CheckConstraint(
            "scope in ('user', 'project', 'developer', 'oauth')",
            name=op.f("ck_vault_secret_scope"),
        ),
        sa.CheckConstraint(
            "(scope = 'project') = (project_id is not null)",
            name=op.f("ck_vault_secret_project"),
        ),
        sa.CheckConstraint("version > 0", name=op.f("ck_vault_secret_version")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["app.users.user_id"], name=op.f("fk_vault_secret_user_id")
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["app.projects.project_id"], name=op.f("fk_vault_secret_project_id")
        ),
        sa.PrimaryKeyConstraint("secret_id", name=op.f("pk_vault_secret")),
        sa.UniqueConstraint(
            "user_id",
            "scope",
            "holder",
            "name",
            name=op.f("uq_vault_secret_user_id_scope_holder_name"),
        ),
        schema="app",
    )
    _protect("vault_secret", is_readable=True)


def _sealed() -> None:
    op.create_table(
        "vault_sealed",
        sa.Column("secret_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("kek_id", sa.Text(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["secret_id"],
            ["app.vault_secret.secret_id"],
            name=op.f("fk_vault_sealed_secret_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("secret_id", name=op.f("pk_vault_sealed")),
        schema="app",
    )
    _protect("vault_sealed", is_readable=False)
    op.create_index(
        op.f("ix_vault_sealed_kek_id_secret_id"),
        "vault_sealed",
        ["kek_id", "secret_id"],
        schema="app",
    )


def _connections() -> None:
    op.create_table(
        "oauth_connection",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("server", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("issuer", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'connected'"), nullable=False),
        sa.Column("scopes", TEXTS, server_default=NONE, nullable=False),
        sa.Column("wanted_scopes", TEXTS, server_default=NONE, nullable=False),
        sa.Column("expires_at", TIME, nullable=True),
        sa.Column("connected_at", TIME, server_default=NOW, nullable=False),
        sa.Column("refreshed_at", TIME, server_default=NOW, nullable=False),
        sa.Column("refreshing_until", TIME, nullable=True),
        sa.CheckConstraint(
            "status in ('connected', 'broken')", name=op.f("ck_oauth_connection_status")
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["app.users.user_id"], name=op.f("fk_oauth_connection_user_id")
        ),
        sa.PrimaryKeyConstraint("user_id", "server", name=op.f("pk_oauth_connection")),
        schema="app",
    )
    _protect("oauth_connection", is_readable=True)


def _flows() -> None:
    op.create_table(
        "oauth_flow",
        sa.Column("flow_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("server", sa.Text(), nullable=False),
        sa.Column("state_hash", sa.LargeBinary(), nullable=False),
        sa.Column("browser_hash", sa.LargeBinary(), nullable=False),
        sa.Column("kek_id", sa.Text(), nullable=False),
        sa.Column("wrapped", sa.LargeBinary(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("approved_at", TIME, nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["app.users.user_id"], name=op.f("fk_oauth_flow_user_id")
        ),
        sa.PrimaryKeyConstraint("flow_id", name=op.f("pk_oauth_flow")),
        sa.UniqueConstraint("state_hash", name=op.f("uq_oauth_flow_state_hash")),
        schema="app",
    )
    _protect("oauth_flow", is_readable=True)
    for columns in (["user_id", "server"], ["expires_at"]):
        op.create_index(
            op.f(f"ix_oauth_flow_{'_'.join(columns)}"), "oauth_flow", columns, schema="app"
        )


def upgrade() -> None:
    _secrets()
    _sealed()
    _connections()
    _flows()


def downgrade() -> None:
    for name in ("oauth_flow", "oauth_connection", "vault_sealed", "vault_secret"):
        op.drop_table(name, schema="app")
