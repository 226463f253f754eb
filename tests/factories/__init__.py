"""One factory per table: the least row that the table accepts, and the rows it refers to."""

from typing import Any
from uuid import UUID

from sqlalchemy import Table, insert

from app.auth.tables import UserRow
from app.kernel.rls import SCHEMA, Base
from app.kernel.uow import UnitOfWork
from tests.factories import accounts, catalogue, ledger, work
from tests.factories.kind import Factory, Row, Values

FACTORIES: dict[Row, Factory] = {
    **accounts.FACTORIES,
    **catalogue.FACTORIES,
    **ledger.FACTORIES,
    **work.FACTORIES,
}
_BY_TABLE = {row.__tablename__: make for row, make in FACTORIES.items()}


def table(name: str) -> Table:
    """A declared table by its name in our schema."""
    return Base.metadata.tables[f"{SCHEMA}.{name}"]


def values(name: str, user_id: UUID, **changes: Any) -> Values:
    """A row that a table accepts once the rows it refers to exist."""
    return {**_BY_TABLE[name](user_id), **changes}


async def create(uow: UnitOfWork, name: str, user_id: UUID, **changes: Any) -> Values:
    """Insert a row that belongs to a user, and what it must refer to; return what was given.

    The user's own row is inserted at its first need; every other row is a new one.
    """
    row = values(name, user_id, **changes)
    for column in table(name).columns:
        for key in column.foreign_keys:
            parent = key.column.table.name
            if column.nullable:
                continue
            if parent == UserRow.__tablename__:
                await _ensure_user(uow, row[column.name])
            elif column.name not in row:
                row[column.name] = (await create(uow, parent, user_id))[key.column.name]
    await uow.execute(insert(table(name)).values(row))
    return row


async def _ensure_user(uow: UnitOfWork, user_id: UUID) -> None:
    known = await uow.execute("select 1 from app.users where user_id = :id", {"id": user_id})
    if known.first() is None:
        await create(uow, UserRow.__tablename__, user_id)
