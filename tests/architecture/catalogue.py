"""What PostgreSQL itself says about the tables of one schema, in a form that can be compared."""

from dataclasses import dataclass
from typing import Any

import psycopg

Connection = psycopg.Connection[Any]
Facts = frozenset[tuple[Any, ...]]

_TABLES = """
select c.relname, c.oid from pg_class c
where c.relnamespace = %s::regnamespace and c.relkind in ('r', 'p')
  and c.relname <> 'alembic_version' and not c.relispartition
"""

_SECURITY = "select relrowsecurity, relforcerowsecurity, reloptions from pg_class where oid = %s"

_POLICIES = """
select polname, polcmd::text, polpermissive, array(select r::regrole::text from unnest(polroles) r),
  pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)
from pg_policy where polrelid = %s
"""

_GRANTS = """
select a.grantee::regrole::text, a.privilege_type, a.is_grantable
from pg_class c, aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) a where c.oid = %s
union all
select a.grantee::regrole::text, att.attname || ': ' || a.privilege_type, a.is_grantable
from pg_attribute att, aclexplode(att.attacl) a where att.attrelid = %s
"""

_COLUMNS = """
select a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
  pg_get_expr(d.adbin, d.adrelid), a.attidentity::text, a.attgenerated::text
from pg_attribute a left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where a.attrelid = %s and a.attnum > 0 and not a.attisdropped
"""

_CONSTRAINTS = "select conname, pg_get_constraintdef(oid) from pg_constraint where conrelid = %s"
_INDEXES = "select pg_get_indexdef(indexrelid) from pg_index where indrelid = %s"


@dataclass(frozen=True, slots=True)
class Catalogued:
    """One table as the catalogue has it."""

    security: Facts
    policies: Facts
    grants: Facts
    columns: Facts
    constraints: Facts
    indexes: Facts


def _facts(conn: Connection, query: str, oid: int) -> Facts:
    rows = conn.execute(query, [oid] * query.count("%s")).fetchall()
    return frozenset(
        tuple(tuple(value) if isinstance(value, list) else value for value in row) for row in rows
    )


def read(conn: Connection, schema: str) -> dict[str, Catalogued]:
    """Every table of a schema by its name."""
    tables = conn.execute(_TABLES, (schema,)).fetchall()
    return {
        name: Catalogued(
            security=_facts(conn, _SECURITY, oid),
            policies=_facts(conn, _POLICIES, oid),
            grants=_facts(conn, _GRANTS, oid),
            columns=_facts(conn, _COLUMNS, oid),
            constraints=_facts(conn, _CONSTRAINTS, oid),
            indexes=_facts(conn, _INDEXES, oid),
        )
        for name, oid in tables
    }
