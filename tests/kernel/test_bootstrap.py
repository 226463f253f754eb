"""The bootstrap gives the embedded hub the roles, schemas and functions Supabase has."""

import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection, errors, sql

from app.kernel.embedded import Hub, bootstrap
from app.kernel.errors import AppError, Code

ALICE, BOB = uuid.uuid4(), uuid.uuid4()
ROLES = {
    # name: may log in, inherits, bypasses row-level security
    "anon": (False, False, False),
    "authenticated": (False, False, False),
    "service_role": (False, False, True),
    "authenticator": (True, False, False),
    "uaol_owner": (True, True, False),
    "app_backend": (True, False, False),
}


def connect(hub: Hub, user: str, database: str = "uaol") -> "Connection[Any]":
    return psycopg.connect(hub.dsn(user, database), autocommit=True)


@pytest.fixture(scope="session")
def ready(hub: Hub) -> Hub:
    """The server, bootstrapped, with a table that the migration role made as migrations do."""
    bootstrap(hub.dsn(hub.superuser))
    with connect(hub, "uaol_owner") as conn:
        conn.execute("create schema if not exists app")
        conn.execute("create table app.note (user_id uuid primary key, body text)")
        conn.execute("alter table app.note enable row level security")
        conn.execute("alter table app.note force row level security")
        conn.execute("grant select, insert, update, delete on app.note to service_role")
        conn.execute("grant select, update, delete on app.note to authenticated")
        conn.execute(
            "create policy own on app.note to authenticated using ((select auth.uid()) = user_id)"
        )
    with connect(hub, "app_backend") as conn, acting(conn, "service_role"):
        for user in (ALICE, BOB):
            conn.execute("insert into app.note values (%s, 'private')", (user,))
    return hub


class acting:  # noqa: N801
    """A transaction in a role with claims, as the unit of work opens it."""

    def __init__(self, conn: "Connection[Any]", role: str, user: uuid.UUID | None = None) -> None:
        claims = {"role": role, "email": "a@example.org", **({"sub": str(user)} if user else {})}
        self._args = (role, json.dumps(claims))
        self._conn, self._transaction = conn, conn.transaction()

    def __enter__(self) -> None:
        self._transaction.__enter__()
        self._conn.execute(
            "select set_config('role', %s, true), set_config('request.jwt.claims', %s, true)",
            self._args,
        )

    def __exit__(self, *error: Any) -> None:
        self._transaction.__exit__(*error)


@pytest.fixture
def backend(ready: Hub) -> Iterator["Connection[Any]"]:
    with connect(ready, "app_backend") as conn:
        yield conn


def test_it_may_run_again(ready: Hub) -> None:
    first = bootstrap(ready.dsn(ready.superuser))
    assert first == sorted(first) == bootstrap(ready.dsn(ready.superuser))
    with connect(ready, "app_backend") as conn, acting(conn, "service_role"):
        assert conn.execute("select count(*) from app.note").fetchone() == (2,)


def test_several_databases_at_once(ready: Hub) -> None:
    names = [f"clone_{number}" for number in range(3)]
    with connect(ready, "postgres") as conn:
        for name in names:
            conn.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        with ThreadPoolExecutor(3) as pool:
            applied = list(pool.map(lambda name: bootstrap(ready.dsn("postgres", name)), names))
        assert all(applied)
        for name in names:
            conn.execute(sql.SQL("drop database {}").format(sql.Identifier(name)))


def test_the_roles(ready: Hub) -> None:
    query = """select rolname, rolcanlogin, rolinherit, rolbypassrls from pg_roles
        where rolname = any(%s)
        and not (rolsuper or rolcreaterole or rolcreatedb or rolreplication)"""
    with connect(ready, "postgres") as conn:
        rows = conn.execute(query, (list(ROLES),)).fetchall()
    assert {name: tuple(rest) for name, *rest in rows} == ROLES


def test_only_a_superuser_can_apply_it(ready: Hub) -> None:
    with pytest.raises(AppError) as caught:
        bootstrap(ready.dsn("uaol_owner"))
    assert caught.value.code is Code.HUB_UNAVAILABLE


def test_a_folder_without_sql(ready: Hub, tmp_path: Path) -> None:
    with pytest.raises(AppError) as caught:
        bootstrap(ready.dsn("postgres"), tmp_path)
    assert caught.value.code is Code.HUB_UNAVAILABLE


def test_the_claims(backend: "Connection[Any]") -> None:
    query = "select auth.uid(), auth.role(), auth.email(), auth.jwt() ->> 'sub'"
    with acting(backend, "authenticated", ALICE):
        row = backend.execute(query).fetchone()
    assert row == (ALICE, "authenticated", "a@example.org", str(ALICE))
    # A pooled connection keeps the name of the setting, but nothing of its last user.
    assert backend.execute(query).fetchone() == (None, None, None, None)


def test_without_claims_nobody_is_anybody(backend: "Connection[Any]") -> None:
    assert backend.execute("select auth.uid(), auth.jwt()").fetchone() == (None, None)
    with pytest.raises(errors.InsufficientPrivilege):
        backend.execute("select * from app.note")
    with acting(backend, "authenticated"):
        assert backend.execute("select * from app.note").fetchall() == []
    with pytest.raises(errors.InsufficientPrivilege), acting(backend, "anon"):
        backend.execute("select * from app.note")


def test_claims_that_are_no_json_are_an_error(backend: "Connection[Any]") -> None:
    with backend.transaction(force_rollback=True):
        backend.execute("select set_config('request.jwt.claims', '{oops', true)")
        with pytest.raises(errors.InvalidTextRepresentation):
            backend.execute("select auth.uid()")


def test_another_tenant_sees_and_changes_nothing(backend: "Connection[Any]") -> None:
    with acting(backend, "authenticated", ALICE):
        assert backend.execute("select user_id from app.note").fetchall() == [(ALICE,)]
        changed = backend.execute("update app.note set body = 'x' where user_id = %s", (BOB,))
        assert changed.rowcount == 0
        assert backend.execute("delete from app.note where user_id = %s", (BOB,)).rowcount == 0
    with acting(backend, "service_role"):
        assert backend.execute("select body from app.note").fetchall() == [("private",)] * 2


def test_the_owner_obeys_forced_policies(ready: Hub) -> None:
    with connect(ready, "uaol_owner") as conn:
        assert conn.execute("select * from app.note").fetchall() == []


@pytest.mark.parametrize(
    "statement",
    [
        "create role intruder",
        "drop extension vector",
        "create table auth.intruder ()",
        "create or replace function auth.uid() returns uuid language sql as 'select null::uuid'",
        "create table public.intruder ()",
        "alter system set fsync = off",
        "alter role app_backend bypassrls",
        "alter role service_role nobypassrls",
        "copy (select 1) to program 'true'",
        "set role postgres",
        "create database intruder",
    ],
)
@pytest.mark.parametrize("user", ["uaol_owner", "app_backend"])
def test_what_no_working_role_may_do(ready: Hub, user: str, statement: str) -> None:
    with connect(ready, user) as conn, pytest.raises(errors.InsufficientPrivilege):
        conn.execute(statement)


@pytest.mark.parametrize("role", ["postgres", "uaol_owner"])
def test_the_backend_takes_on_no_other_role(backend: "Connection[Any]", role: str) -> None:
    with pytest.raises(errors.InsufficientPrivilege), acting(backend, role):
        pytest.fail("it became the owner of everything")


def test_vectors(ready: Hub) -> None:
    with connect(ready, "uaol_owner") as conn:
        conn.execute("create table app.place (spot extensions.vector(2))")
        conn.execute("create index on app.place using hnsw (spot extensions.vector_l2_ops)")
        conn.execute("grant select, insert on app.place to service_role")
        try:
            with connect(ready, "app_backend") as user, acting(user, "service_role"):
                user.execute("insert into app.place values ('[3,4]')")
                row = user.execute("select spot <-> '[0,0]'::extensions.vector from app.place")
                assert row.fetchone() == (5.0,)
        finally:
            conn.execute("drop table app.place")


def test_names_resolve_as_on_supabase(ready: Hub) -> None:
    with connect(ready, "app_backend") as conn:
        assert conn.execute("show search_path").fetchone() == ('"$user", public, extensions',)
