"""Real PostgreSQL for every test: one embedded hub, one migrated template, a clone per test."""

import fcntl
import gc
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NoReturn
from uuid import uuid4

import hypothesis
import psycopg
import pytest

from app.kernel.db import Database
from app.kernel.embedded import EmbeddedHub, Hub, bootstrap
from app.kernel.migrate import upgrade
from tests.books import off_books

pytest_plugins = ["tests.sandbox.kubernetes.option", "tests.strict"]
# What an example costs says more of the machine than of the code. The same code is tried with the
# same examples; `--hypothesis-profile=random` tries others, as `make faults` does.
for _name, _is_fixed in (("fixed", True), ("random", False)):
    hypothesis.settings.register_profile(
        _name,
        deadline=None,
        derandomize=_is_fixed,
        suppress_health_check=[hypothesis.HealthCheck.too_slow],
    )
hypothesis.settings.load_profile("fixed")


def cannot_run(reason: str) -> NoReturn:
    """Skip with the reason; where every test must run that is a failure (`tests/strict.py`)."""
    pytest.skip(reason)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder that all test processes share; pytest's own keeps the database out."""
    config.addinivalue_line(
        "markers", "no_books(reason): the test writes rows that no ledger would, on purpose"
    )
    if not hasattr(config, "workerinput"):
        os.environ["UAOL_TEST_FOLDER"] = tempfile.mkdtemp(prefix="uaol-tests-")


def pytest_collection_finish() -> None:
    """Modules and tests live to the end: the collector need not look at them again and again."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove the shared folder once every process has ended."""
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ["UAOL_TEST_FOLDER"], ignore_errors=True)


def _shared_folder() -> Path:
    return Path(os.environ["UAOL_TEST_FOLDER"])


@pytest.fixture(scope="session")
def hub() -> Iterator[Hub]:
    """The session's embedded PostgreSQL, shared by all test processes."""
    home = _shared_folder() / "hub"
    with EmbeddedHub(home, durable=False, settings={"shared_buffers": "128MB"}) as running:
        yield running


def _admin(hub: Hub) -> psycopg.Connection[object]:
    return psycopg.connect(hub.dsn(hub.superuser, "postgres"), autocommit=True)


@pytest.fixture
def template(hub: Hub) -> str:
    """A database at the newest revision, to be cloned."""
    name = "uaol_template"
    lock = _shared_folder() / "template.lock"
    with lock.open("w") as handle, _admin(hub) as admin:
        fcntl.flock(handle, fcntl.LOCK_EX)
        known = admin.execute("select 1 from pg_database where datname = %s", (name,)).fetchone()
        if known is None:
            admin.execute(f"create database {name}_draft")
            bootstrap(hub.dsn(hub.superuser, f"{name}_draft"))
            upgrade(hub.dsn("uaol_owner", f"{name}_draft"))
            admin.execute(f"alter database {name}_draft rename to {name}")
    return name


def _clone(admin: psycopg.Connection[object], name: str, template: str) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            admin.execute(f"create database {name} template {template}")
        except psycopg.errors.ObjectInUse:
            # Another test process is cloning the same template at this moment.
            if time.monotonic() > deadline:
                raise
        else:
            return


_END = """
select count(pg_terminate_backend(pid)) from pg_stat_activity
where datname = %s and pid <> pg_backend_pid()
"""
_WIPE = """
do $$
declare one regclass;
begin
  set local session_replication_role = replica;
  for one in select oid from pg_class where relnamespace = 'app'::regnamespace
    and relkind in ('r', 'p') and relname <> 'alembic_version'
  loop
    execute format('delete from %s', one);
  end loop;
end $$
"""
_CLONES: dict[tuple[str, str], str] = {}


def _wiped(hub: Hub, name: str) -> str:
    """A database of this process without rows and without connections of earlier tests."""
    with psycopg.connect(hub.dsn(hub.superuser, name), autocommit=True) as conn:
        # Until they are gone: one that is told to end may still commit before it does.
        while conn.execute(_END, (name,)).fetchone() != (0,):
            pass
        conn.execute(_WIPE)
    return name


@pytest.fixture
def clone(hub: Hub, template: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of a database of this test process, empty at the start of each test.

    After each test its books must balance, unless the test is marked with `no_books`.
    """
    name = _empty_clone(hub, template)
    yield name
    if request.node.get_closest_marker("no_books") is None:
        off = off_books(hub.dsn(hub.superuser, name))
        assert off == [], "the books do not balance"


def _empty_clone(hub: Hub, template: str) -> str:
    key = (str(hub.data_dir), template)
    if key not in _CLONES:
        name = f"t_{uuid4().hex}"
        with _admin(hub) as admin:
            _clone(admin, name, template)
        _CLONES[key] = name
    return _wiped(hub, _CLONES[key])


@pytest.fixture
def dsn(hub: Hub, clone: str) -> str:
    """The application's own DSN of the test's database: a login without rights of its own."""
    return hub.dsn("app_backend", clone)


@pytest.fixture
async def database(dsn: str) -> AsyncIterator[Database]:
    """The test's database as the application opens it."""
    opened = Database(dsn, pool_size=5)
    yield opened
    await opened.close()
