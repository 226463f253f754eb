"""Limits: numbers and state of a limit, and the jobs that hold it or wait for it."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def _protect(name: str) -> None:
    op.execute(f"alter table app.{name} enable row level security")
    op.execute(f"alter table app.{name} force row level security")
    op.execute(f"grant select, insert, update, delete on app.{name} to service_role")
    op.execute(
        f"create policy service_all on app.{name} to service_role using (true) with check (true)"
    )
    op.execute(f"grant select on app.{name} to authenticated")
    op.execute(
        f"create policy reader_select on app.{name} for select to authenticated"
        " using ((select auth.uid()) = user_id)"
    )


def upgrade() -> None:
    op.create_table(
        "job_limit",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("inherits", sa.Text(), nullable=True),
        sa.Column("max_running", sa.Integer(), nullable=True),
        sa.Column("rate_per_minute", sa.Integer(), nullable=True),
        sa.Column("burst", sa.Integer(), nullable=True),
        sa.Column("is_paused", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("in_use", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("turn", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("tat", sa.DateTime(timezone=True), nullable=True),
        sa.Column("wake_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("scope in ('user', 'tool', 'key')", name=op.f("ck_job_limit_scope")),
        sa.CheckConstraint("max_running >= 0", name=op.f("ck_job_limit_max_running")),
        sa.CheckConstraint("rate_per_minute >= 1 and burst >= 1", name=op.f("ck_job_limit_rate")),
        sa.CheckConstraint("in_use >= 0", name=op.f("ck_job_limit_in_use")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_job_limit")),
        schema="app",
        postgresql_with={"fillfactor": 50},
    )
    _protect("job_limit")
    op.create_index(op.f("ix_job_limit_user_id"), "job_limit", ["user_id"], schema="app")
    op.create_index(
        "ix_job_limit_wake_at",
        "job_limit",
        ["wake_at"],
        schema="app",
        postgresql_where=sa.text("wake_at is not null"),
    )
    op.create_index(
        "ix_job_limit_inherits",
        "job_limit",
        ["inherits"],
        schema="app",
        postgresql_where=sa.text("inherits is not null"),
    )
    op.create_index(
        "ix_job_limit_platform",
        "job_limit",
        ["name"],
        schema="app",
        postgresql_where=sa.text("user_id is null and inherits is null"),
    )
    op.create_table(
        "job_slot",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("turn", sa.BigInteger(), nullable=True),
        sa.Column("is_held", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("is_in_line", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "not (is_held and is_in_line)", name=op.f("ck_job_slot_one_of_two")
        ),
        sa.PrimaryKeyConstraint("job_id", "name", name=op.f("pk_job_slot")),
        schema="app",
    )
    _protect("job_slot")
    op.create_index(
        "ix_job_slot_line",
        "job_slot",
        ["name", "turn", sa.text("priority desc"), "job_id"],
        schema="app",
        postgresql_where=sa.text("is_in_line"),
    )
    op.create_index(
        "ix_job_slot_held",
        "job_slot",
        ["name", "job_id"],
        schema="app",
        postgresql_where=sa.text("is_held"),
    )
    op.create_index(
        "ix_job_slot_due",
        "job_slot",
        ["due_at"],
        schema="app",
        postgresql_where=sa.text("due_at is not null"),
    )
    op.create_index(
        "ix_job_slot_user_id",
        "job_slot",
        ["user_id", "name", "is_in_line", "priority", "turn"],
        schema="app",
    )


def downgrade() -> None:
    op.drop_table("job_slot", schema="app")
    op.drop_table("job_limit", schema="app")
