"""Table by table, as SQL: another tenant sees nothing and changes nothing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg.errors import InsufficientPrivilege
from sqlalchemy import Delete, Select, Update, and_, delete, insert, literal, select, update
from sqlalchemy.exc import DBAPIError, ProgrammingError

from app.kernel.db import Database
from app.kernel.principal import SERVICE, USER_SCOPES, Principal
from app.kernel.rls import class_of, policy_of
from tests.factories import FACTORIES, Values, create, table, values

pytestmark = pytest.mark.anyio

TABLES = sorted(row.__tablename__ for row in FACTORIES)
WITH_USER = [name for name in TABLES if "user_id" in table(name).c]
OWN_ROWS = [name for name in WITH_USER if policy_of(table(name)).column == "user_id"]
READABLE = [name for name in TABLES if policy_of(table(name)).condition is not None]
HIDDEN = [name for name in TABLES if name not in READABLE]
APPEND_ONLY = [name for name in TABLES if class_of(table(name)).__is_append_only__]
VIEWS = ["jobs", "user_accounts"]
NOBODY = Principal(kind="user")
ASSUME = """
select set_config('role', 'authenticated', true), set_config('request.jwt.claims', :claims, true)
"""


def _user(user_id: UUID) -> Principal:
    return Principal(kind="user", user_id=user_id, scopes=USER_SCOPES)


@contextmanager
def _denied() -> Iterator[None]:
    with pytest.raises(ProgrammingError) as caught:
        yield
    assert isinstance(caught.value.orig, InsufficientPrivilege)


def _this(name: str, row: Values) -> Any:
    """The condition that finds one row by its primary key."""
    return and_(*(column == row[column.name] for column in table(name).primary_key))


def _find(name: str, row: Values) -> "Select[Any]":
    return select(table(name)).where(_this(name, row))


def _forged(name: str, user_id: UUID) -> Values:
    """A row as a user would write it, with keys of their own choice."""
    return {column.name: uuid4() for column in table(name).primary_key} | values(name, user_id)


def _changes(name: str, row: Values) -> "list[Update | Delete]":
    # Each column is set to itself: allowed by every check, so that only rights can refuse it.
    target, this = table(name), _this(name, row)
    updates = [update(target).values({column.name: column}) for column in target.columns]
    narrow = update(target).where(this).values({key.name: key for key in target.primary_key})
    return [*updates, narrow, delete(target), delete(target).where(this)]


async def _insert_for(db: Database, name: str, user_id: UUID) -> Values:
    async with db.begin(SERVICE) as uow:
        return await create(uow, name, user_id)


async def _as_it_is(db: Database, name: str, row: Values) -> Values:
    async with db.begin(SERVICE) as uow:
        return dict((await uow.execute(_find(name, row))).mappings().one())


async def _count(db: Database, principal: Principal, query: "Select[Any]") -> int:
    async with db.begin(principal) as uow:
        return len((await uow.execute(query)).all())


def test_every_table_with_a_user_is_covered() -> None:
    assert set(WITH_USER) - set(OWN_ROWS) == {"audit_log"}
    assert len(OWN_ROWS) >= 12


@pytest.mark.parametrize("name", OWN_ROWS)
async def test_a_row_is_its_users_alone(db: Database, name: str) -> None:
    alice, bob = uuid4(), uuid4()
    row = await _insert_for(db, name, alice)
    await _insert_for(db, name, bob)
    assert await _count(db, _user(alice), _find(name, row)) == 1
    assert await _count(db, _user(alice), select(table(name))) == 1
    assert await _count(db, _user(bob), _find(name, row)) == 0
    assert await _count(db, _user(bob), select(table(name))) == 1
    assert await _count(db, _user(uuid4()), select(table(name))) == 0


@pytest.mark.parametrize("name", OWN_ROWS)
async def test_without_a_user_nothing_is_seen(db: Database, name: str) -> None:
    await _insert_for(db, name, uuid4())
    assert await _count(db, NOBODY, select(table(name))) == 0


@pytest.mark.parametrize("name", HIDDEN)
async def test_what_is_the_platforms_is_hidden_from_its_user_too(db: Database, name: str) -> None:
    alice = uuid4()
    await _insert_for(db, name, alice)
    for principal in (_user(alice), _user(uuid4()), NOBODY):
        with _denied():
            await _count(db, principal, select(literal(1)).select_from(table(name)))


@pytest.mark.parametrize("name", TABLES)
async def test_no_user_changes_a_row(db: Database, name: str) -> None:
    alice = uuid4()
    row = await _insert_for(db, name, alice)
    before = await _as_it_is(db, name, row)
    for principal in (_user(uuid4()), _user(alice), NOBODY):
        for change in _changes(name, row):
            with _denied():
                async with db.begin(principal) as uow:
                    await uow.execute(change)
    assert await _as_it_is(db, name, row) == before


@pytest.mark.parametrize("name", TABLES)
async def test_no_user_adds_a_row(db: Database, name: str) -> None:
    alice, bob = uuid4(), uuid4()
    await _insert_for(db, name, alice)
    for owner in (alice, bob):
        for principal in (_user(bob), NOBODY):
            with _denied():
                async with db.begin(principal) as uow:
                    await uow.execute(insert(table(name)).values(_forged(name, owner)))


@pytest.mark.parametrize("name", OWN_ROWS)
async def test_the_policies_hold_where_a_grant_is_too_wide(superuser: Database, name: str) -> None:
    alice, bob = uuid4(), uuid4()
    async with superuser.begin(SERVICE) as uow:
        row = await create(uow, name, alice)
        await uow.execute("reset role")
        await uow.execute(f"grant all on app.{name} to authenticated")
        for user in (bob, alice):
            await uow.execute(ASSUME, {"claims": f'{{"sub": "{user}"}}'})
            for change in _changes(name, row):
                assert (await uow.execute(change)).rowcount == 0
            await uow.execute("savepoint forged")
            with _denied():
                await uow.execute(insert(table(name)).values(_forged(name, alice)))
            await uow.execute("rollback to savepoint forged")
        await uow.execute("rollback")


@pytest.mark.parametrize("name", APPEND_ONLY)
async def test_not_even_the_platform_changes_what_is_only_inserted(db: Database, name: str) -> None:
    row = await _insert_for(db, name, uuid4())
    before = await _as_it_is(db, name, row)
    for change in _changes(name, row):
        with _denied():
            async with db.begin(SERVICE) as uow:
                await uow.execute(change)
    assert await _as_it_is(db, name, row) == before


@pytest.mark.parametrize("name", OWN_ROWS)
async def test_a_pooled_connection_keeps_nothing_of_its_last_user(
    backend_dsn: str, db: Database, name: str
) -> None:
    alice, bob = uuid4(), uuid4()
    await _insert_for(db, name, alice)
    seen: list[tuple[int, int]] = []
    pooled = Database(backend_dsn, pool_size=1)
    for principal in (_user(alice), _user(bob), NOBODY):
        async with pooled.begin(principal) as uow:
            process = (await uow.execute("select pg_backend_pid()")).scalar_one()
            seen.append((process, len((await uow.execute(select(table(name)))).all())))
    await pooled.close()
    assert [rows for _, rows in seen] == [1, 0, 0]
    assert len({process for process, _ in seen}) == 1


async def test_a_connection_that_failed_keeps_nothing_either(backend_dsn: str) -> None:
    pooled = Database(backend_dsn, pool_size=1)
    query = "select pg_backend_pid(), auth.uid()"
    alice = uuid4()
    async with pooled.begin(_user(alice)) as uow:
        before = (await uow.execute(query)).one()
    with pytest.raises(DBAPIError):
        await _count(pooled, _user(alice), select(literal(1) / literal(0)))
    async with pooled.begin(NOBODY) as uow:
        after = (await uow.execute(query)).one()
    await pooled.close()
    assert tuple(before) == (before[0], alice)
    assert tuple(after) == (before[0], None)


@pytest.mark.parametrize("view", VIEWS)
async def test_a_view_shows_its_user_alone(db: Database, view: str) -> None:
    alice, bob = uuid4(), uuid4()
    for user in (alice, bob):
        async with db.begin(SERVICE) as uow:
            await create(uow, "users", user)
            await create(uow, "wallet", user)
            job_id = (await create(uow, "processing_jobs", user))["job_id"]
            await create(uow, "job_queue", user, job_id=job_id)
            await create(uow, "hold", user, hold_id=job_id)
            await create(uow, "settlement", user, hold_id=job_id)
    query = f"select user_id from app.{view}"
    for user in (alice, bob):
        async with db.begin(_user(user)) as uow:
            assert (await uow.execute(query)).scalars().all() == [user]
    async with db.begin(NOBODY) as uow:
        assert (await uow.execute(query)).all() == []


async def test_only_approved_tools_are_seen(db: Database) -> None:
    alice = uuid4()
    states = ("Pending", "Approved", "Disabled")
    async with db.begin(SERVICE) as uow:
        made = [await create(uow, "mcp_tools", alice, status=state) for state in states]
    found = [await _count(db, _user(alice), _find("mcp_tools", row)) for row in made]
    assert found == [0, 1, 0]


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("statement", ["select * from", "delete from", "truncate"])
def test_anon_has_no_access(backend_dsn: str, name: str, statement: str) -> None:
    with psycopg.connect(backend_dsn) as conn:
        conn.execute("set local role anon")
        with pytest.raises(InsufficientPrivilege):
            conn.execute(f"{statement} app.{name}")


@pytest.mark.parametrize("name", [*TABLES, *VIEWS])
def test_the_login_has_no_access_before_it_takes_a_role(backend_dsn: str, name: str) -> None:
    with psycopg.connect(backend_dsn) as conn, pytest.raises(InsufficientPrivilege):
        conn.execute(f"select 1 from app.{name}")


@pytest.mark.parametrize("name", OWN_ROWS)
async def test_a_user_role_without_claims_sees_nothing(
    backend_dsn: str, db: Database, name: str
) -> None:
    await _insert_for(db, name, uuid4())
    with psycopg.connect(backend_dsn) as conn:
        conn.execute("set local role authenticated")
        assert conn.execute(f"select * from app.{name}").fetchall() == []
