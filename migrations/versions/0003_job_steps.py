"""Steps of workflows: one row per finished step."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "job_steps",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("output", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("error", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint(
            "status in ('Success', 'Failed', 'Skipped')", name=op.f("ck_job_steps_status")
        ),
        sa.CheckConstraint("attempt >= 1", name=op.f("ck_job_steps_attempt")),
        sa.PrimaryKeyConstraint("job_id", "path", name=op.f("pk_job_steps")),
        schema="app",
    )
    op.execute("alter table app.job_steps enable row level security")
    op.execute("alter table app.job_steps force row level security")
    op.execute("grant select, insert, update, delete on app.job_steps to service_role")
    op.execute(
        "create policy service_all on app.job_steps to service_role using (true) with check (true)"
    )
    op.execute("grant select on app.job_steps to authenticated")
    op.execute(
        "create policy reader_select on app.job_steps for select to authenticated"
        " using ((select auth.uid()) = user_id)"
    )
    op.create_index(op.f("ix_job_steps_user_id"), "job_steps", ["user_id"], schema="app")


def downgrade() -> None:
    op.drop_table("job_steps", schema="app")
