"""The queue in fair order, idempotency keys in a table of their own, a leaner ledger."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_JOBS = """
create or replace view app.jobs with (security_invoker = true) as
select j.job_id, j.user_id, j.project_id, j.kind, j.workflow_definition,
  case when j.end_time is not null then j.status
    when q.lease_until > now() then 'Running'
    {waiting}when q.failures > 0 or q.attempt > 0 then 'Retrying'
    else j.status end as status,
  j.price_micro, s.captured_micro as charged_micro, coalesce(q.attempt, j.attempt) as attempt,
  j.start_time, j.end_time, j.final_output, j.error
from app.processing_jobs j
left join app.job_queue q using (job_id)
left join app.settlement s on s.hold_id = j.job_id
"""
_WAITING = "when q.parked_as = 'Waiting' then 'Waiting'\n    "

_BANDS = "update app.job_queue set priority = sign(priority)::int * 2 where abs(priority) > 2"

_KEYS = """
insert into app.job_key (user_id, key, job_id, request_hash, created_at)
select user_id, idempotency_key, job_id, request_hash, start_time from app.processing_jobs
where idempotency_key is not null
"""


_KEYS_BACK = """
update app.processing_jobs j set idempotency_key = k.key, request_hash = k.request_hash
from app.job_key k where k.job_id = j.job_id
"""


def upgrade() -> None:
    _make_keys()
    _make_places()
    _make_pauses()
    op.drop_constraint("fk_settlement_hold_id", "settlement", schema="app")
    op.drop_index("ix_settlement_user_id", table_name="settlement", schema="app")
    op.drop_index("ix_hold_user_id", table_name="hold", schema="app")
    op.add_column("settlement", sa.Column("usage", sa.dialects.postgresql.JSONB()), schema="app")
    op.execute(_JOBS.format(waiting=_WAITING))


def _make_keys() -> None:
    op.create_table(
        "job_key",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("request_hash", sa.LargeBinary(), nullable=False),
        sa.Column(
            "created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("user_id", "key", name=op.f("pk_job_key")),
        schema="app",
    )
    op.create_index("ix_job_key_job_id", "job_key", ["job_id"], schema="app")
    _protect("job_key", "(select auth.uid()) = user_id")
    _as_keeper(_KEYS, "job_key", "processing_jobs")
    op.drop_index("uq_processing_jobs_idempotency", table_name="processing_jobs", schema="app")
    op.drop_column("processing_jobs", "idempotency_key", schema="app")
    op.drop_column("processing_jobs", "request_hash", schema="app")
    op.execute("alter table app.processing_jobs set (fillfactor = 50)")


def _make_places() -> None:
    for column in (
        sa.Column("place", sa.BigInteger()),
        sa.Column("parked_as", sa.Text()),
        sa.Column("is_limited", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("webhook_id", sa.Uuid()),
        sa.Column("losses", sa.Integer(), server_default=sa.text("0"), nullable=False),
    ):
        op.add_column("job_queue", column, schema="app")
    _as_keeper(_BANDS, "job_queue")
    op.create_check_constraint(
        "ck_job_queue_priority", "job_queue", "priority between -2 and 2", schema="app"
    )
    op.create_check_constraint(
        "ck_job_queue_parked_as", "job_queue", "parked_as in ('Waiting', 'Limited')", schema="app"
    )
    op.drop_index("ix_job_queue_ready", table_name="job_queue", schema="app")
    op.drop_index("ix_job_queue_user_id", table_name="job_queue", schema="app")
    for name, columns, where in (
        ("ready", ["kind", "place"], "place is not null"),
        ("due", ["run_at"], "place is null"),
        ("owner", ["user_id", "kind", "priority", "place"], None),
    ):
        op.create_index(
            f"ix_job_queue_{name}",
            "job_queue",
            columns,
            schema="app",
            postgresql_where=None if where is None else sa.text(where),
        )
    op.execute("alter table app.job_queue set (fillfactor = 50)")


def _make_pauses() -> None:
    op.create_table(
        "queue_pause",
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column(
            "paused_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("kind", name=op.f("pk_queue_pause")),
        schema="app",
    )
    _protect("queue_pause", "true")


def _as_keeper(statement: str, *tables: str) -> None:
    """Forced row-level security hides rows even from the owner, as whom migrations run."""
    for table in tables:
        op.execute(f"alter table app.{table} no force row level security")
    op.execute(statement)
    for table in tables:
        op.execute(f"alter table app.{table} force row level security")


def _protect(table: str, condition: str) -> None:
    op.execute(f"alter table app.{table} enable row level security")
    op.execute(f"alter table app.{table} force row level security")
    op.execute(f"grant select, insert, update, delete on app.{table} to service_role")
    op.execute(
        f"create policy service_all on app.{table} to service_role using (true) with check (true)"
    )
    op.execute(f"grant select on app.{table} to authenticated")
    op.execute(
        f"create policy reader_select on app.{table} for select to authenticated"
        f" using ({condition})"
    )


def downgrade() -> None:
    op.execute("drop view app.jobs")
    op.drop_table("queue_pause", schema="app")
    for name in ("owner", "due", "ready"):
        op.drop_index(f"ix_job_queue_{name}", table_name="job_queue", schema="app")
    for name in ("place", "parked_as", "is_limited", "webhook_id", "losses"):
        op.drop_column("job_queue", name, schema="app")
    op.drop_constraint("ck_job_queue_priority", "job_queue", schema="app")
    op.create_index(
        "ix_job_queue_ready", "job_queue", [sa.text("priority desc"), "run_at"], schema="app"
    )
    op.create_index("ix_job_queue_user_id", "job_queue", ["user_id"], schema="app")
    _unmake_keys()
    op.drop_column("settlement", "usage", schema="app")
    op.create_index("ix_settlement_user_id", "settlement", ["user_id"], schema="app")
    op.create_index("ix_hold_user_id", "hold", ["user_id"], schema="app")
    op.create_foreign_key(
        "fk_settlement_hold_id",
        "settlement",
        "hold",
        ["hold_id"],
        ["hold_id"],
        source_schema="app",
        referent_schema="app",
    )
    op.execute(_JOBS.format(waiting=""))
    op.execute("grant select on app.jobs to authenticated, service_role")


def _unmake_keys() -> None:
    op.add_column("processing_jobs", sa.Column("idempotency_key", sa.Text()), schema="app")
    op.add_column(
        "processing_jobs",
        sa.Column("request_hash", sa.LargeBinary(), server_default=sa.text("''"), nullable=False),
        schema="app",
    )
    _as_keeper(_KEYS_BACK, "processing_jobs", "job_key")
    op.create_index(
        "uq_processing_jobs_idempotency",
        "processing_jobs",
        ["user_id", "idempotency_key"],
        unique=True,
        schema="app",
        postgresql_where=sa.text("idempotency_key is not null"),
    )
    op.drop_table("job_key", schema="app")
