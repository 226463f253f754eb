"""Usage mode: rates of plans, accounts of jobs, and the holds that top them up."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_READERS = {
    "usage_rate": "true",
    "usage_account": "(select auth.uid()) = user_id",
    "job_hold": "(select auth.uid()) = user_id",
}
_APPEND_ONLY = {"usage_rate", "job_hold"}


# What top-ups of a job captured, beside its own hold's settlement.
_FIRST = "s.captured_micro AS charged_micro"
_ALL = """(s.captured_micro + (select coalesce(sum(t.captured_micro), 0)
  from app.job_hold l join app.settlement t on t.hold_id = l.hold_id
  where l.job_id = j.job_id))::bigint AS charged_micro"""


def _show_jobs(charged: str) -> None:
    """Change one column of `app.jobs` and leave the others to the revisions that shaped them."""
    shown = op.get_bind().scalar(sa.text("select pg_get_viewdef('app.jobs'::regclass)"))
    before, _, after = shown.partition(" AS charged_micro")
    column = before.rpartition("j.price_micro,")[0] + "j.price_micro, " + charged
    op.execute(
        f"create or replace view app.jobs with (security_invoker = true) as {column}{after}"
    )


def _protect(table: str) -> None:
    rights = "select, insert" if table in _APPEND_ONLY else "select, insert, update, delete"
    op.execute(f"alter table app.{table} enable row level security")
    op.execute(f"alter table app.{table} force row level security")
    op.execute(f"grant {rights} on app.{table} to service_role")
    op.execute(
        f"create policy service_all on app.{table} to service_role using (true) with check (true)"
    )
    op.execute(f"grant select on app.{table} to authenticated")
    op.execute(
        f"create policy reader_select on app.{table} for select to authenticated"
        f" using ({_READERS[table]})"
    )


def _big(name: str, default: str | None = None) -> sa.Column:
    server_default = None if default is None else sa.text(default)
    return sa.Column(name, sa.BigInteger(), nullable=False, server_default=server_default)


def upgrade() -> None:
    # A name may have a plan of each mode; each counts its own versions.
    op.drop_index("uq_pricing_plans_version", table_name="pricing_plans", schema="app")
    op.create_index(
        "uq_pricing_plans_version",
        "pricing_plans",
        ["kind", "name", "mode", "version"],
        unique=True,
        schema="app",
    )
    op.create_table(
        "usage_rate",
        sa.Column("plan_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        _big("per_units"),
        _big("amount_micro"),
        _big("low_units", "0"),
        _big("high_units", "0"),
        sa.CheckConstraint("kind in ('tool', 'sandbox', 'llm')", name=op.f("ck_usage_rate_kind")),
        sa.CheckConstraint("per_units > 0 and amount_micro >= 0", name=op.f("ck_usage_rate_rate")),
        sa.CheckConstraint(
            "low_units >= 0 and low_units <= high_units", name=op.f("ck_usage_rate_units")
        ),
        sa.ForeignKeyConstraint(
            ["plan_id"], ["app.pricing_plans.plan_id"], name=op.f("fk_usage_rate_plan_id")
        ),
        sa.PrimaryKeyConstraint("plan_id", "kind", "subject", "unit", name=op.f("pk_usage_rate")),
        schema="app",
    )
    _protect("usage_rate")
    op.create_table(
        "usage_account",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("rates", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        _big("cap_micro"),
        _big("first_micro"),
        _big("held_micro"),
        sa.Column("used_parts", sa.Numeric(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "opened_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint(
            "cap_micro >= held_micro and held_micro >= first_micro",
            name=op.f("ck_usage_account_held"),
        ),
        sa.CheckConstraint(
            "first_micro >= 0 and used_parts >= 0", name=op.f("ck_usage_account_amounts")
        ),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_usage_account")),
        schema="app",
        postgresql_with={"fillfactor": 70},
    )
    _protect("usage_account")
    op.create_index(op.f("ix_usage_account_user_id"), "usage_account", ["user_id"], schema="app")
    op.create_table(
        "job_hold",
        sa.Column("hold_id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.PrimaryKeyConstraint("hold_id", name=op.f("pk_job_hold")),
        schema="app",
    )
    _protect("job_hold")
    op.create_index(op.f("ix_job_hold_job_id"), "job_hold", ["job_id"], schema="app")
    op.create_index(op.f("ix_job_hold_user_id"), "job_hold", ["user_id"], schema="app")
    _show_jobs(_ALL)


def downgrade() -> None:
    _show_jobs(_FIRST)
    for table in ("job_hold", "usage_account", "usage_rate"):
        op.drop_table(table, schema="app")
    op.execute("delete from app.pricing_plans where mode = 'usage'")
    op.drop_index("uq_pricing_plans_version", table_name="pricing_plans", schema="app")
    op.create_index(
        "uq_pricing_plans_version",
        "pricing_plans",
        ["kind", "name", "version"],
        unique=True,
        schema="app",
    )
