"""The migrations run as an ordinary role, on every PostgreSQL we support, any number of times."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from alembic import command
from alembic.script import ScriptDirectory

from app.kernel.embedded import Hub
from app.kernel.ids import new_id
from app.kernel.migrate import MIGRATIONS, config, is_current, upgrade
from tests.architecture.catalogue import Catalogued, read
from tests.migrated import empty_database

ROOT = Path(__file__).resolve().parents[2]
_UPGRADE = "import sys; from app.kernel.migrate import upgrade; upgrade(sys.argv[1])"
# Functions and syntax that PostgreSQL 17 or 18 brought; 16 refuses those in a migration, but
# not those in a statement that only a test's luck would run there.
NEWER = re.compile(
    r"""\b(uuidv7|uuidv4|uuid_extract_\w+|casefold|array_sort|array_reverse|gamma|lgamma|crc32c?
    |json_table|json_query|json_value|json_exists|json_serialize|json_scalar|to_bin|to_oct
    |merge_action|transaction_timeout)\s*\(|\breturning\s+(?:with\s*\(|old\b|new\b)
    |\bwithout\s+overlaps\b|\)\s*virtual\b""",
    re.IGNORECASE | re.VERBOSE,
)


@pytest.fixture
def owner(hub: Hub) -> Iterator[str]:
    """The owner's DSN of a database with nothing but the bootstrap."""
    with empty_database(hub) as name:
        yield hub.dsn("uaol_owner", name)


def _connect(dsn: str) -> "psycopg.Connection[Any]":
    return psycopg.connect(dsn, autocommit=True)


def _tables(dsn: str) -> dict[str, Catalogued]:
    with _connect(dsn) as conn:
        return read(conn, "app")


def _revision(dsn: str) -> list[Any]:
    with _connect(dsn) as conn:
        return conn.execute("select version_num from app.alembic_version").fetchall()


def _relations(dsn: str) -> set[str]:
    query = """select relname from pg_class
        where relnamespace = 'app'::regnamespace and relkind in ('r', 'p', 'v', 'S')"""
    with _connect(dsn) as conn:
        return {name for (name,) in conn.execute(query)}


def test_an_ordinary_role_migrates_and_owns_all(hub: Hub, owner: str) -> None:
    upgrade(owner)
    with _connect(owner) as conn:
        who = "select rolsuper or rolbypassrls or rolcreaterole from pg_roles where rolname = user"
        assert conn.execute(who).fetchone() == (False,)
        assert conn.info.server_version // 10000 == hub.version
        query = """select distinct relowner::regrole::text from pg_class
            where relnamespace = 'app'::regnamespace"""
        assert conn.execute(query).fetchall() == [("uaol_owner",)]


def test_a_second_run_changes_nothing(owner: str) -> None:
    assert not is_current(owner)
    upgrade(owner)
    assert is_current(owner)
    first = _tables(owner), _revision(owner)
    upgrade(owner)
    assert is_current(owner)
    assert (_tables(owner), _revision(owner)) == first


def test_two_processes_migrate_at_once(owner: str) -> None:
    def migrate(_: int) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-c", _UPGRADE, owner],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(migrate, range(2)))
    assert [(each.returncode, each.stderr) for each in done if each.returncode] == []
    assert is_current(owner)
    assert len(_revision(owner)) == 1


def test_two_threads_migrate_at_once(owner: str) -> None:
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(upgrade, [owner, owner]))
    assert is_current(owner)


def test_down_to_nothing_and_up_again(owner: str) -> None:
    upgrade(owner)
    first = _tables(owner), _relations(owner)
    command.downgrade(config(owner), "base")
    assert _relations(owner) == {"alembic_version"}
    assert _revision(owner) == []
    assert not is_current(owner)
    upgrade(owner)
    assert (_tables(owner), _relations(owner)) == first


def test_each_step_down_and_up(owner: str) -> None:
    revisions = [each.revision for each in ScriptDirectory(str(MIGRATIONS)).walk_revisions()]
    upgrade(owner)
    for _ in revisions:
        command.downgrade(config(owner), "-1")
        command.upgrade(config(owner), "+1")
        command.downgrade(config(owner), "-1")
    assert _revision(owner) == []
    upgrade(owner)
    assert is_current(owner)


def test_a_database_whose_schema_nobody_prepared(hub: Hub, owner: str) -> None:
    # As on Supabase, where no bootstrap ran.
    with _connect(owner) as conn:
        conn.execute("drop schema app")
    upgrade(owner)
    with _connect(owner) as conn:
        database = conn.info.dbname
    with psycopg.connect(hub.dsn("app_backend", database)) as conn:
        for role in ("service_role", "authenticated"):
            conn.execute(f"set local role {role}")
            assert conn.execute("select * from app.user_accounts").fetchall() == []


def test_a_migration_that_fails_leaves_nothing(owner: str) -> None:
    with _connect(owner) as conn:
        conn.execute("create view app.jobs as select 1")
        with pytest.raises(Exception, match="jobs"):
            upgrade(owner)
        conn.execute("drop view app.jobs")
    assert _relations(owner) <= {"alembic_version"}
    upgrade(owner)
    assert is_current(owner)


def test_jobs_of_the_first_queue_come_along(owner: str) -> None:
    command.upgrade(config(owner), "0003")
    user, job = uuid4(), new_id()
    login = owner.replace("//uaol_owner@", "//app_backend@")
    with _connect(login) as conn:
        conn.execute("set role service_role")
        conn.execute(
            """insert into app.processing_jobs (job_id, user_id, kind, workflow_definition,
              price_micro, price_version, idempotency_key, request_hash)
            values (%s, %s, 'tool', '{}', 1, 1, 'k', 'h')""",
            (job, user),
        )
        queued = (
            "insert into app.job_queue (job_id, user_id, kind, priority) values (%s, %s, %s, %s)"
        )
        conn.execute(queued, (job, user, "tool", -7))
    upgrade(owner)
    with _connect(login) as conn:
        conn.execute("set role service_role")
        key = conn.execute("select user_id, key, job_id, request_hash from app.job_key").fetchall()
        assert key == [(user, "k", job, b"h")]
        row = conn.execute("select job_id, priority, place from app.job_queue").fetchall()
        assert row == [(job, -2, None)]
        assert conn.execute("select status from app.jobs").fetchall() == [("Queued",)]
    command.downgrade(config(owner), "0003")
    with _connect(login) as conn:
        conn.execute("set role service_role")
        back = conn.execute("select idempotency_key, request_hash from app.processing_jobs")
        assert back.fetchall() == [("k", b"h")]


def test_the_revisions_are_one_line() -> None:
    scripts = ScriptDirectory(str(MIGRATIONS))
    assert len(scripts.get_heads()) == len(scripts.get_bases()) == 1


def _sql_files() -> list[Path]:
    product = (ROOT / "app").rglob("*.py")
    return [*product, *MIGRATIONS.rglob("*.py"), *(ROOT / "supabase").rglob("*.sql")]


def test_no_statement_needs_a_newer_postgresql() -> None:
    found = {
        str(path.relative_to(ROOT)): match.group()
        for path in _sql_files()
        if (match := NEWER.search(path.read_text(encoding="utf-8")))
    }
    assert found == {}


@pytest.mark.parametrize(
    "statement",
    [
        "select uuidv7()",
        "update t set a = 1 returning old.a",
        "select array_sort (a)",
        "select * from JSON_TABLE(a, '$' columns (b int))",
        "alter table t add c int generated always as (a + 1) virtual",
    ],
)
def test_a_newer_statement_would_be_found(statement: str) -> None:
    assert NEWER.search(statement)


def test_the_applications_login_sees_whether_all_is_done(hub: Hub, owner: str) -> None:
    login = owner.replace("//uaol_owner@", "//app_backend@")
    assert login != owner
    upgrade(owner)
    assert is_current(login)
    command.downgrade(config(owner), "0001")
    assert not is_current(login)
