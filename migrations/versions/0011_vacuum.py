"""How often each kind of table is vacuumed, said by the table, so that any hub's server does so.

What turns over completely (the queue, wallets) bloats unless it is vacuumed all the time. What
only grows, or is changed once, gains little by it: there a vacuum at every fifth of growth took a
tenth of the machine while the tables were young.
"""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_TURNS_OVER = ("job_queue", "wallet", "job_limit", "job_slot", "usage_account", "outbox")
_OFTEN = {
    "autovacuum_vacuum_scale_factor": 0.02,
    "autovacuum_vacuum_cost_limit": 5000,
}
_GROWS = ("hold", "settlement", "transfer", "usage_event", "job_hold", "audit_log", "job_key")
_PARTITIONED = ("processing_jobs", "job_events", "job_steps")
_SELDOM = {
    "autovacuum_vacuum_threshold": 100_000,
    "autovacuum_vacuum_insert_threshold": 500_000,
    "autovacuum_analyze_threshold": 500_000,
}


def _leaves() -> list[str]:
    """Tables that hold rows; a partition made later takes its options from the rest."""
    found = op.get_bind().exec_driver_sql(
        "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid"
        " join pg_class p on p.oid = i.inhparent where p.relnamespace = 'app'::regnamespace"
        " and c.relkind = 'r' and p.relname = any(array['"
        + "', '".join(_PARTITIONED)
        + "'])"
    )
    return [*_GROWS, *(name for (name,) in found)]


def upgrade() -> None:
    for names, options in ((_TURNS_OVER, _OFTEN), (_leaves(), _SELDOM)):
        given = ", ".join(f"{option} = {value}" for option, value in options.items())
        for name in names:
            op.execute(f"alter table app.{name} set ({given})")


def downgrade() -> None:
    for names, options in ((_TURNS_OVER, _OFTEN), (_leaves(), _SELDOM)):
        for name in names:
            op.execute(f"alter table app.{name} reset ({', '.join(options)})")
