"""The base of every table, and row-level security as part of a table's declaration.

A table names its policy in `__policy__`; migrations get the statements by autogenerate, and
tests compare the live catalogue with the declarations. Users read their own rows; every write
is the platform's (`service_role`), so that no user's role can mint credits or forge a trace.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from sqlalchemy import MetaData, Table
from sqlalchemy.orm import DeclarativeBase

SCHEMA = "app"
# What the names of partitions end in.
PARTITION = re.compile("_(past|default|p[0-9]{8})$")
_ALL_RIGHTS = "select, insert, update, delete"
_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s",
    "pk": "pk_%(table_name)s",
}


@dataclass(frozen=True, slots=True)
class Policy:
    """Which rows `authenticated` may read: a SQL condition, or None for none at all."""

    condition: str | None
    column: str | None = None
    #: Rows that are only ever looked up by this column, and need no index by user.
    reached_by: str | None = None


def own_rows(column: str = "user_id", *, reached_by: str | None = None) -> Policy:
    """Rows whose `column` is the caller. The subselect makes PostgreSQL ask for it once."""
    return Policy(f"(select auth.uid()) = {column}", column, reached_by)


def readable_when(condition: str) -> Policy:
    """Rows that meet a condition, for what is shared between users."""
    return Policy(condition)


def service_only() -> Policy:
    """Rows that no user reads."""
    return Policy(None)


class Base(DeclarativeBase):
    """Base class of all tables; each class must declare `__policy__`."""

    metadata = MetaData(schema=SCHEMA, naming_convention=_NAMES)
    __policy__: ClassVar[Policy]
    #: Rows are inserted and read, never changed: not even the platform may update or delete.
    __is_append_only__: ClassVar[bool] = False
    #: Forced row-level security hides rows even from the tables' owner, as whom functions that
    #: keep the tables run; this lets it read them.
    __is_read_by_owner__: ClassVar[bool] = False
    #: Storage parameters of `app.kernel.vacuum`, where the server's own do not fit.
    __vacuum__: ClassVar[Mapping[str, float]] = {}


def class_of(table: Table) -> type[Base]:
    """The class that declares a table."""
    for mapper in Base.registry.mappers:
        if mapper.local_table is table:
            declared: type[Base] = mapper.class_
            return declared
    raise LookupError(f"no class declares the table {table.fullname}")


def policy_of(table: Table) -> Policy:
    """The declared policy of a mapped table; a table without one is an error."""
    policy = getattr(class_of(table), "__policy__", None)
    if isinstance(policy, Policy):
        return policy
    raise LookupError(f"table {table.fullname} declares no __policy__")


def statements(table: Table) -> list[str]:
    """The SQL that puts a table under row-level security and says when to vacuum it, in order."""
    name, policy = f"{SCHEMA}.{table.name}", policy_of(table)
    rights = "select, insert" if class_of(table).__is_append_only__ else _ALL_RIGHTS
    sql = [
        f"alter table {name} enable row level security",
        f"alter table {name} force row level security",
        f"grant {rights} on {name} to service_role",
        f"create policy service_all on {name} to service_role using (true) with check (true)",
    ]
    if policy.condition is not None:
        reader = f"create policy reader_select on {name} for select to authenticated"
        sql += [
            f"grant select on {name} to authenticated",
            f"{reader} using ({policy.condition})",
        ]
    if class_of(table).__is_read_by_owner__:
        sql.append(f"create policy owner_select on {name} for select to current_user using (true)")
    if options := class_of(table).__vacuum__:
        given = ", ".join(f"{option} = {value}" for option, value in options.items())
        sql.append(f"alter table {name} set ({given})")
    return sql
