"""Charges of single calls against leased credits."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_SELDOM = {
    "autovacuum_vacuum_threshold": 100_000,
    "autovacuum_vacuum_insert_threshold": 500_000,
    "autovacuum_analyze_threshold": 500_000,
}


def upgrade() -> None:
    op.create_table(
        "call_charge",
        sa.Column("call_id", sa.Uuid(), nullable=False),
        sa.Column("hold_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("amount_micro", sa.BigInteger(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("now()"),
            nullable=False,
        ),
        sa.CheckConstraint("amount_micro > 0", name=op.f("ck_call_charge_amount")),
        sa.PrimaryKeyConstraint("call_id", name=op.f("pk_call_charge")),
        schema="app",
    )
    for sql in (
        "alter table app.call_charge enable row level security",
        "alter table app.call_charge force row level security",
        "grant select, insert on app.call_charge to service_role",
        "create policy service_all on app.call_charge to service_role using (true)"
        " with check (true)",
        "grant select on app.call_charge to authenticated",
        "create policy reader_select on app.call_charge for select to authenticated"
        " using ((select auth.uid()) = user_id)",
    ):
        op.execute(sql)
    given = ", ".join(f"{option} = {value}" for option, value in _SELDOM.items())
    op.execute(f"alter table app.call_charge set ({given})")


def downgrade() -> None:
    op.drop_table("call_charge", schema="app")
