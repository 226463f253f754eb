"""What every table must withstand: another tenant who speaks SQL."""

import pytest
from sqlalchemy.exc import ProgrammingError

from app.kernel.db import Database
from app.kernel.principal import SERVICE, Principal


async def rows(database: Database, principal: Principal, table: str) -> int:
    async with database.begin(principal) as uow:
        return int((await uow.execute(f"select count(*) from app.{table}")).scalar_one())


async def assert_refused(database: Database, principal: Principal, statement: str) -> None:
    """The statement fails for want of the right, not for another reason."""
    with pytest.raises(ProgrammingError) as caught:
        async with database.begin(principal) as uow:
            await uow.execute(statement)
    assert getattr(caught.value.orig, "sqlstate", None) == "42501"


async def assert_isolated(
    database: Database, table: str, *, stranger: Principal, owner: Principal | None
) -> None:
    """The table has rows; the owner sees them all, the stranger none; neither can write."""
    there = await rows(database, SERVICE, table)
    assert there > 0
    if owner is None:
        await assert_refused(database, stranger, f"select * from app.{table}")
    else:
        assert await rows(database, owner, table) == there
        assert await rows(database, stranger, table) == 0
    for principal in filter(None, (stranger, owner)):
        column = await _first_column(database, table)
        await assert_refused(database, principal, f"insert into app.{table} default values")
        await assert_refused(database, principal, f"update app.{table} set {column} = {column}")
        await assert_refused(database, principal, f"delete from app.{table}")
        await assert_refused(database, principal, f"truncate app.{table}")
    assert await rows(database, SERVICE, table) == there


async def _first_column(database: Database, table: str) -> str:
    sql = """
    select column_name from information_schema.columns
    where table_schema = 'app' and table_name = :name order by ordinal_position limit 1
    """
    async with database.begin(SERVICE) as uow:
        return str((await uow.execute(sql, {"name": table})).scalar_one())
