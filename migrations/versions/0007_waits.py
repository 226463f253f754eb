"""Waits of workflows; a run's steps and waits as lines of its trace."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_JSON = postgresql.JSONB(astext_type=sa.Text())

# security_invoker: the view shows a caller no row that the tables would not.
LINES = """
create view app.job_lines with (security_invoker = true) as
select job_id, seq, user_id, kind, created_at, data from app.job_events
union all
select job_id, started_seq, user_id, 'step.started', started_at, jsonb_build_object('path', path)
from app.job_steps where started_seq is not null
union all
select job_id, seq, user_id,
  case status when 'Success' then 'step.finished' when 'Failed' then 'step.failed'
    else 'step.skipped' end,
  ended_at,
  jsonb_build_object('path', path)
    || case when status = 'Skipped' then '{}' else jsonb_build_object('attempt', attempt,
      'duration_ms', round(extract(epoch from ended_at - started_at) * 1000)) end
    || case when error is null then '{}' else jsonb_build_object('error', error) end
from app.job_steps where seq is not null
union all
select job_id, seq, user_id, 'step.waiting', since,
  jsonb_strip_nulls(jsonb_build_object('path', path, 'until', due_at, 'title', title))
from app.job_waits
"""


def upgrade() -> None:
    _library()
    _agent_nodes()
    op.add_column("job_steps", sa.Column("started_seq", sa.Integer()), schema="app")
    op.add_column("job_steps", sa.Column("seq", sa.Integer()), schema="app")
    op.create_table(
        "job_waits",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("since", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("due_at", _TIME, nullable=True),
        sa.Column("title", sa.Text(), nullable=True),
        sa.Column("form", _JSON, nullable=True),
        sa.Column("answer", _JSON, nullable=True),
        sa.Column("answered_at", _TIME, nullable=True),
        sa.Column("answered_by", sa.Uuid(), nullable=True),
        sa.CheckConstraint(
            "title is not null or due_at is not null", name=op.f("ck_job_waits_ends")
        ),
        sa.CheckConstraint(
            "answered_at is null or answer is not null", name=op.f("ck_job_waits_answer")
        ),
        sa.PrimaryKeyConstraint("job_id", "path", name=op.f("pk_job_waits")),
        schema="app",
    )
    op.create_index(
        "ix_job_waits_open",
        "job_waits",
        ["user_id", "job_id"],
        schema="app",
        postgresql_where=sa.text("title is not null and answered_at is null"),
    )
    op.create_index(op.f("ix_job_waits_user_id"), "job_waits", ["user_id"], schema="app")
    for sql in (
        "alter table app.job_waits enable row level security",
        "alter table app.job_waits force row level security",
        "grant select, insert, update, delete on app.job_waits to service_role",
        "create policy service_all on app.job_waits to service_role using (true) with check (true)",
        "grant select on app.job_waits to authenticated",
        "create policy reader_select on app.job_waits for select to authenticated"
        " using ((select auth.uid()) = user_id)",
        LINES,
        "grant select on app.job_lines to authenticated, service_role",
    ):
        op.execute(sql)


def downgrade() -> None:
    _drop_agent_nodes()
    _drop_library()
    op.execute("drop view app.job_lines")
    op.drop_table("job_waits", schema="app")
    op.drop_column("job_steps", "seq", schema="app")
    op.drop_column("job_steps", "started_seq", schema="app")


# Saved definitions.


def _library() -> None:
    op.create_table(
        "workflow_definitions",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("title", sa.Text(), nullable=True),
        sa.Column("definition", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("version >= 1", name=op.f("ck_workflow_definitions_version")),
        sa.PrimaryKeyConstraint(
            "user_id", "name", "version", name=op.f("pk_workflow_definitions")
        ),
        schema="app",
    )
    op.execute("alter table app.workflow_definitions enable row level security")
    op.execute("alter table app.workflow_definitions force row level security")
    op.execute("grant select, insert, update, delete on app.workflow_definitions to service_role")
    op.execute(
        "create policy service_all on app.workflow_definitions to service_role"
        " using (true) with check (true)"
    )
    op.execute("grant select on app.workflow_definitions to authenticated")
    op.execute(
        "create policy reader_select on app.workflow_definitions for select to authenticated"
        " using ((select auth.uid()) = user_id)"
    )


def _drop_library() -> None:
    op.drop_table("workflow_definitions", schema="app")


# A role's row belongs to a job, or to one step of a workflow.


def _agent_nodes() -> None:
    op.add_column(
        "agent_runs",
        sa.Column("path", sa.Text(), server_default=sa.text("''"), nullable=False),
        schema="app",
    )
    op.drop_constraint("uq_agent_runs_job_id_role_attempt", "agent_runs", schema="app")
    op.create_unique_constraint(
        op.f("uq_agent_runs_job_id_path_role_attempt"),
        "agent_runs",
        ["job_id", "path", "role", "attempt"],
        schema="app",
    )


def _drop_agent_nodes() -> None:
    op.drop_constraint("uq_agent_runs_job_id_path_role_attempt", "agent_runs", schema="app")
    op.drop_column("agent_runs", "path", schema="app")
    op.create_unique_constraint(
        op.f("uq_agent_runs_job_id_role_attempt"),
        "agent_runs",
        ["job_id", "role", "attempt"],
        schema="app",
    )
