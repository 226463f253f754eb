"""A database with jobs gets partitions and keeps its rows; and back again."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from alembic import command

from app.kernel.embedded import Hub
from app.kernel.ids import new_id
from app.kernel.migrate import config
from tests.migrated import empty_database
from tests.orchestration.retention.conftest import TABLES

OLD, STRANGE = new_id(), uuid4()


@pytest.fixture
def name(hub: Hub) -> Iterator[str]:
    """The name of a database at the revision before, with rows."""
    with empty_database(hub) as name:
        command.upgrade(config(hub.dsn("uaol_owner", name)), "0009")
        with psycopg.connect(hub.dsn(hub.superuser, name), autocommit=True) as conn:
            for job_id in (OLD, STRANGE):
                _fill(conn, job_id)
        yield name


def _fill(conn: "psycopg.Connection[Any]", job_id: Any) -> None:
    values = {"job": job_id, "user": uuid4()}
    conn.execute(
        "insert into app.processing_jobs (job_id, user_id, kind, workflow_definition, price_micro,"
        """ price_version, error) values (%(job)s, %(user)s, 'tool', '{"a": 1}', 5, 1, '{}')""",
        values,
    )
    conn.execute(
        "insert into app.job_events (job_id, seq, user_id, kind, data, once)"
        " values (%(job)s, 2, %(user)s, 'progress', '{}', 'k')",
        values,
    )
    conn.execute(
        "insert into app.job_steps (job_id, path, user_id, attempt, status, started_at, ended_at,"
        " seq) values (%(job)s, 'a', %(user)s, 1, 'Success', now(), now(), 3)",
        values,
    )
    conn.execute(
        "insert into app.settlement (hold_id, user_id, kind, captured_micro, released_micro)"
        " values (%(job)s, %(user)s, 'captured', 5, 0)",
        values,
    )


def _rows(conn: "psycopg.Connection[Any]") -> dict[str, list[Any]]:
    queries = {
        relation: f"select to_jsonb(t) from app.{relation} t order by job_id"
        for relation in (*TABLES, "jobs", "job_lines")
    }
    return {relation: conn.execute(query).fetchall() for relation, query in queries.items()}


def test_rows_are_kept_up_and_down(hub: Hub, name: str) -> None:
    owner = config(hub.dsn("uaol_owner", name))
    with psycopg.connect(hub.dsn(hub.superuser, name), autocommit=True) as conn:
        before = _rows(conn)
        assert [len(rows) for rows in before.values()] == [2, 2, 2, 2, 4]
        command.upgrade(owner, "0010")
        assert _rows(conn) == before
        for table in TABLES:
            places = f"select job_id, tableoid::regclass::text from app.{table}"
            assert dict(conn.execute(places).fetchall()) == {
                OLD: f"app.{table}_past",
                STRANGE: f"app.{table}_default",
            }
        # The views read the new tables.
        conn.execute("delete from app.processing_jobs where job_id = %s", (STRANGE,))
        assert len(_rows(conn)["jobs"]) == 1
        left = _rows(conn)
        command.downgrade(owner, "0009")
        assert _rows(conn) == left
        kinds = "select relkind::text from pg_class where oid = any(%s::regclass[])"
        found = conn.execute(kinds, ([f"app.{table}" for table in TABLES],)).fetchall()
        assert found == [("r",)] * 3
