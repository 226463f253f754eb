"""Schedules, their moments, dead letters."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)
JSON = postgresql.JSONB(astext_type=sa.Text())


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


def _schedules() -> None:
    op.create_table(
        "job_schedule",
        sa.Column("schedule_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("project_id", sa.Uuid(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("cron", sa.Text(), nullable=False),
        sa.Column("time_zone", sa.Text(), server_default=sa.text("'UTC'"), nullable=False),
        sa.Column("job", JSON, nullable=False),
        sa.Column("priority", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("limit_key", sa.Text(), nullable=True),
        sa.Column("webhook_id", sa.Uuid(), nullable=True),
        sa.Column("catch_up", sa.Text(), server_default=sa.text("'one'"), nullable=False),
        sa.Column("catch_up_limit", sa.Integer(), server_default=sa.text("100"), nullable=False),
        sa.Column("overlap", sa.Text(), server_default=sa.text("'allow'"), nullable=False),
        sa.Column("is_paused", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("version", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("next_at", TIME, nullable=True),
        sa.Column("last_at", TIME, nullable=True),
        sa.Column("last_job_id", sa.Uuid(), nullable=True),
        sa.Column("last_error", JSON, nullable=True),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("priority between -2 and 2", name=op.f("ck_job_schedule_priority")),
        sa.CheckConstraint(
            "catch_up in ('skip', 'one', 'all')", name=op.f("ck_job_schedule_catch_up")
        ),
        sa.CheckConstraint(
            "catch_up_limit between 1 and 1000", name=op.f("ck_job_schedule_catch_up_limit")
        ),
        sa.CheckConstraint("overlap in ('allow', 'skip')", name=op.f("ck_job_schedule_overlap")),
        sa.PrimaryKeyConstraint("schedule_id", name=op.f("pk_job_schedule")),
        sa.UniqueConstraint("user_id", "name", name=op.f("uq_job_schedule_user_id_name")),
        schema="app",
    )
    _protect("job_schedule")
    op.create_index(
        "ix_job_schedule_due",
        "job_schedule",
        ["next_at"],
        schema="app",
        postgresql_where=sa.text("not is_paused"),
    )


def _moments() -> None:
    op.create_table(
        "schedule_moment",
        sa.Column("schedule_id", sa.Uuid(), nullable=False),
        sa.Column("moment", TIME, nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=True),
        sa.Column("error", JSON, nullable=True),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "outcome in ('Submitted', 'Refused', 'Skipped')",
            name=op.f("ck_schedule_moment_outcome"),
        ),
        sa.ForeignKeyConstraint(
            ["schedule_id"],
            ["app.job_schedule.schedule_id"],
            name=op.f("fk_schedule_moment_schedule_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("schedule_id", "moment", name=op.f("pk_schedule_moment")),
        schema="app",
    )
    _protect("schedule_moment")
    op.create_index(
        op.f("ix_schedule_moment_user_id"), "schedule_moment", ["user_id"], schema="app"
    )


def _dead_letters() -> None:
    op.create_table(
        "dead_letter",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("error", JSON, nullable=False),
        sa.Column("priority", sa.SmallInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("limit_names", JSON, server_default=sa.text("'[]'"), nullable=False),
        sa.Column("webhook_id", sa.Uuid(), nullable=True),
        sa.Column("created_at", TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("redriven_as", sa.Uuid(), nullable=True),
        sa.Column("redriven_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_dead_letter")),
        schema="app",
    )
    _protect("dead_letter")
    op.create_index(
        op.f("ix_dead_letter_user_id_job_id"), "dead_letter", ["user_id", "job_id"], schema="app"
    )
    op.create_index(
        "ix_dead_letter_open",
        "dead_letter",
        ["user_id", "cause", "job_id"],
        schema="app",
        postgresql_where=sa.text("redriven_as is null"),
    )


def upgrade() -> None:
    _schedules()
    _moments()
    _dead_letters()


def downgrade() -> None:
    for name in ("dead_letter", "schedule_moment", "job_schedule"):
        op.drop_table(name, schema="app")
