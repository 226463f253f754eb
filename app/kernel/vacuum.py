"""How often a table is vacuumed, said by the table: any hub's server does so then."""

from collections.abc import Mapping

TURNS_OVER: Mapping[str, float] = {
    "autovacuum_vacuum_scale_factor": 0.02,
    "autovacuum_vacuum_cost_limit": 5000,
}
"""For a table whose rows come and go: it bloats unless it is vacuumed all the time."""

GROWS: Mapping[str, float] = {
    "autovacuum_vacuum_threshold": 100_000,
    "autovacuum_vacuum_insert_threshold": 500_000,
    "autovacuum_analyze_threshold": 500_000,
}
"""For a table that only grows: a vacuum at each fifth of growth takes much and gives little."""
