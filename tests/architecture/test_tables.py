"""The migrated database is what the modules declare, and every table in it is protected."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import NullPool, create_engine

from app.kernel.embedded import Hub
from app.kernel.migrate import sqlalchemy_url
from app.kernel.rls import PARTITION, SCHEMA, Base, class_of, policy_of, statements
from app.kernel.vacuum import GROWS
from tests.architecture.catalogue import Catalogued, Connection, read
from tests.factories import FACTORIES, table
from tests.migrated import migrated_database

NAMES = sorted(row.__tablename__ for row in FACTORIES)
VIEWS = ("job_lines", "jobs", "user_accounts")
PARTITIONED = {"job_events", "job_steps", "processing_jobs"}
# Whether they run as the tables' owner.
FUNCTIONS = {
    "day_id": False,
    "delete_overflow": True,
    "drop_partition": True,
    "make_partition": True,
    "partitions": False,
    "protect_partition": False,
    "schema_revision": True,
}
PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE", "REFERENCES", "TRIGGER")

UUID, TEXT, JSON, TIME = "uuid", "text", "jsonb", "timestamp with time zone"
# The names that clients of the data model rely on.
PUBLISHED = {
    "users": {"user_id": UUID, "email": TEXT, "subscription_tier": TEXT},
    "user_accounts": {"user_id": UUID, "email": TEXT, "current_credits": "bigint"},
    "projects": {"project_id": UUID, "user_id": UUID, "name": TEXT},
    "api_keys": {"user_id": UUID, "prefix": TEXT, "secret_hash": "bytea"},
    "user_identity": {"issuer": TEXT, "subject": TEXT, "user_id": UUID},
    "mcp_ticket": {"ticket_hash": "bytea", "scopes": "text[]", "expires_at": TIME},
    "mcp_tools": {
        "tool_id": UUID,
        "name": TEXT,
        "gateway_url": TEXT,
        "credit_cost_per_call": "bigint",
        "developer_id": UUID,
        "status": TEXT,
    },
    "tool_versions": {"tool_id": UUID, "sha256": TEXT, "definition": JSON},
    "tool_index": {"tool_name": TEXT, "digest": TEXT, "model": TEXT},
    "mcp_servers": {"server_id": UUID, "user_id": UUID, "slug": TEXT, "status": TEXT},
    "mcp_server_versions": {"server_id": UUID, "version": TEXT, "document": JSON},
    "registry_notice": {"notice_id": UUID, "user_id": UUID, "kind": TEXT},
    "processing_jobs": {
        "job_id": UUID,
        "user_id": UUID,
        "workflow_definition": JSON,
        "status": TEXT,
        "start_time": TIME,
        "end_time": TIME,
        "final_output": JSON,
    },
    "job_queue": {"job_id": UUID, "lease_until": TIME, "attempt": "integer"},
    "job_limit": {"name": TEXT, "user_id": UUID, "max_running": "integer", "in_use": "integer"},
    "job_slot": {"job_id": UUID, "name": TEXT, "is_held": "boolean", "is_in_line": "boolean"},
    "job_key": {"user_id": UUID, "key": TEXT, "job_id": UUID},
    "queue_pause": {"kind": TEXT, "reason": TEXT},
    "job_events": {"job_id": UUID, "seq": "integer", "data": JSON},
    "job_steps": {"job_id": UUID, "path": TEXT, "status": TEXT, "output": JSON},
    "job_waits": {"job_id": UUID, "path": TEXT, "due_at": TIME, "title": TEXT, "answer": JSON},
    "job_lines": {"job_id": UUID, "seq": "integer", "kind": TEXT, "data": JSON},
    "job_schedule": {"schedule_id": UUID, "cron": TEXT, "next_at": TIME},
    "schedule_moment": {"schedule_id": UUID, "moment": TIME, "outcome": TEXT, "job_id": UUID},
    "dead_letter": {"job_id": UUID, "cause": TEXT, "redriven_as": UUID},
    "webhook_endpoint": {"webhook_id": UUID, "url": TEXT, "is_enabled": "boolean"},
    "webhook_secret": {"webhook_id": UUID, "sealed": "bytea"},
    "webhook_delivery": {"delivery_id": UUID, "type": TEXT, "status": TEXT, "next_at": TIME},
    "agent_runs": {"run_id": UUID, "job_id": UUID, "path": TEXT, "role": TEXT},
    "workflow_definitions": {"name": TEXT, "version": "integer", "definition": JSON},
    "wallet": {"user_id": UUID, "available_micro": "bigint"},
    "hold": {"hold_id": UUID, "amount_micro": "bigint"},
    "call_charge": {"call_id": UUID, "hold_id": UUID, "amount_micro": "bigint"},
    "settlement": {"hold_id": UUID, "captured_micro": "bigint"},
    "transfer": {"transfer_id": UUID, "debit": TEXT, "credit": TEXT},
    "pricing_plans": {"plan_id": UUID, "name": TEXT, "amount_micro": "bigint"},
    "usage_event": {"usage_id": UUID, "quantities": JSON},
    "usage_rate": {"plan_id": UUID, "unit": TEXT, "amount_micro": "bigint"},
    "usage_account": {"job_id": UUID, "held_micro": "bigint", "used_parts": "numeric"},
    "job_hold": {"hold_id": UUID, "job_id": UUID},
    "files": {"file_id": UUID, "user_id": UUID, "sha256": TEXT},
    "vault_secret": {"secret_id": UUID, "scope": TEXT, "name": TEXT, "version": "integer"},
    "vault_sealed": {"secret_id": UUID, "kek_id": TEXT, "wrapped": "bytea"},
    "oauth_connection": {"user_id": UUID, "server": TEXT, "status": TEXT},
    "oauth_flow": {"flow_id": UUID, "user_id": UUID, "server": TEXT},
    "outbox": {"event_id": UUID, "payload": JSON},
    "audit_log": {"entry_id": UUID, "actor": TEXT, "action": TEXT},
}
STATES = {
    ("users", "subscription_tier"): {"Free", "Pro", "Enterprise"},
    ("mcp_tools", "status"): {"Pending", "Approved", "Disabled"},
    ("mcp_servers", "status"): {"Draft", "Pending", "Approved", "Disabled"},
    ("processing_jobs", "status"): {"Queued", "Running", "Success", "Failed", "Retrying"},
}


@pytest.fixture(scope="module")
def migrated(hub: Hub) -> Iterator[str]:
    """The owner's DSN of a migrated database."""
    with migrated_database(hub) as name:
        yield hub.dsn("uaol_owner", name)


@pytest.fixture
def owner(migrated: str) -> Iterator[Connection]:
    """The migrated database as its owner, in a transaction that is rolled back."""
    with psycopg.connect(migrated) as conn:
        yield conn
        conn.rollback()


@pytest.fixture
def live(owner: Connection) -> dict[str, Catalogued]:
    return read(owner, SCHEMA)


def _declared(dsn: str) -> dict[str, Catalogued]:
    """The catalogue of the declared tables, made anew in place of the migrated ones."""
    engine = create_engine(sqlalchemy_url(dsn), poolclass=NullPool)
    with engine.connect() as conn:
        conn.exec_driver_sql("alter schema app rename to app_migrated")
        conn.exec_driver_sql("create schema app")
        Base.metadata.create_all(conn, checkfirst=False)
        for each in Base.metadata.sorted_tables:
            for sql in statements(each):
                conn.exec_driver_sql(sql)
        driver: Any = conn.connection.driver_connection
        return read(driver, SCHEMA)


def test_the_live_tables_are_the_declared_ones(live: dict[str, Catalogued]) -> None:
    assert sorted(live) == NAMES == sorted(each.name for each in Base.metadata.sorted_tables)
    assert {each.schema for each in Base.metadata.sorted_tables} == {SCHEMA}


def test_the_migrated_tables_are_as_declared(migrated: str, live: dict[str, Catalogued]) -> None:
    declared = _declared(migrated)
    differences = {
        (name, aspect): (facts - expected, expected - facts)
        for name in NAMES
        for (aspect, facts), expected in zip(
            asdict(live[name]).items(), asdict(declared[name]).values(), strict=True
        )
        if facts != expected
    }
    assert differences == {}


def test_a_new_revision_would_be_empty(migrated: str) -> None:
    options = {
        "include_schemas": True,
        "include_name": lambda name, kind, _: kind != "schema" or name == SCHEMA,
        "include_object": lambda _, name, kind, *__: kind != "table" or not PARTITION.search(name),
        "version_table_schema": SCHEMA,
        "compare_type": True,
        "compare_server_default": True,
    }
    with create_engine(sqlalchemy_url(migrated), poolclass=NullPool).connect() as conn:
        context = MigrationContext.configure(conn, opts=options)
        assert compare_metadata(context, Base.metadata) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_table_is_closed_even_to_its_owner(live: dict[str, Catalogued], name: str) -> None:
    [(is_enabled, is_forced, _)] = live[name].security
    assert is_enabled
    assert is_forced


def _rights(conn: Connection, role: str, relation: str) -> set[str]:
    query = "select has_table_privilege(%s, %s, %s)"
    asked = {each: conn.execute(query, (role, f"app.{relation}", each)) for each in PRIVILEGES}
    return {each for each, answer in asked.items() if answer.fetchone() == (True,)}


@pytest.mark.parametrize("name", NAMES)
def test_each_role_has_the_declared_rights_alone(owner: Connection, name: str) -> None:
    is_append_only = class_of(table(name)).__is_append_only__
    is_readable = policy_of(table(name)).condition is not None
    writes = {"INSERT"} if is_append_only else {"INSERT", "UPDATE", "DELETE"}
    assert _rights(owner, "service_role", name) == {"SELECT"} | writes
    assert _rights(owner, "authenticated", name) == ({"SELECT"} if is_readable else set())
    for role in ("anon", "authenticator", "app_backend"):
        assert _rights(owner, role, name) == set()


def test_what_tells_money_and_runs_is_append_only() -> None:
    only_inserted = {row.__tablename__ for row in FACTORIES if row.__is_append_only__}
    assert only_inserted == {
        "audit_log",
        "call_charge",
        "hold",
        "job_events",
        "job_hold",
        "settlement",
        "transfer",
        "usage_event",
        "usage_rate",
    }


@pytest.mark.parametrize("name", NAMES)
def test_only_declared_policies_exist(live: dict[str, Catalogued], name: str) -> None:
    found = {
        (policy, command, tuple(roles)) for policy, command, _, roles, *_ in live[name].policies
    }
    wanted: set[tuple[Any, ...]] = {("service_all", "*", ("service_role",))}
    if policy_of(table(name)).condition is not None:
        wanted.add(("reader_select", "r", ("authenticated",)))
    if class_of(table(name)).__is_read_by_owner__:
        wanted.add(("owner_select", "r", ("uaol_owner",)))
    assert found == wanted


def test_rows_are_their_users_or_for_all_or_for_none() -> None:
    kinds = {row.__tablename__: policy_of(table(row.__tablename__)) for row in FACTORIES}
    shared = {name: policy.condition for name, policy in kinds.items() if policy.column is None}
    assert shared == {
        "mcp_tools": "status = 'Approved'",
        "pricing_plans": "true",
        "usage_rate": "true",
        "audit_log": None,
        "outbox": None,
        "queue_pause": "true",
        "tool_index": None,
        "tool_versions": None,
        "vault_sealed": None,
        "webhook_secret": None,
    }
    for name, policy in kinds.items():
        if policy.column is not None:
            assert policy.condition == "(select auth.uid()) = user_id", name


_LEADING = """
select a.attname from pg_index i join pg_attribute a on a.attrelid = i.indrelid
  and a.attnum = i.indkey[0]
where i.indrelid = %s::regclass and i.indpred is null and i.indisvalid
"""


@pytest.mark.parametrize("name", NAMES)
def test_an_index_leads_with_the_column_of_the_policy(owner: Connection, name: str) -> None:
    leading = {column for (column,) in owner.execute(_LEADING, (f"app.{name}",))}
    policy = policy_of(table(name))
    asked = {policy.column, "user_id" if "user_id" in table(name).c else None}
    if policy.reached_by is not None:
        asked = {policy.reached_by}
    assert asked - {None} <= leading


@pytest.mark.parametrize("view", VIEWS)
def test_a_view_shows_what_its_reader_may_see(owner: Connection, view: str) -> None:
    row = owner.execute(
        "select reloptions from pg_class where oid = %s::regclass", (f"app.{view}",)
    ).fetchone()
    assert row == (["security_invoker=true"],)
    assert _rights(owner, "authenticated", view) == {"SELECT"}
    assert _rights(owner, "service_role", view) == {"SELECT"}
    assert _rights(owner, "anon", view) == set()


def test_nothing_else_is_in_the_schema(owner: Connection) -> None:
    query = """select relname, relkind::text from pg_class
        where relnamespace = 'app'::regnamespace and not relispartition"""
    kinds = {(name, kind) for name, kind in owner.execute(query) if kind not in {"i", "t", "I"}}
    tables = {(name, "r") for name in {*NAMES, "alembic_version"} - PARTITIONED}
    tables |= {(name, "p") for name in PARTITIONED}
    assert kinds == tables | {(name, "v") for name in VIEWS}
    functions = """select proname, prosecdef, proconfig,
        has_function_privilege('anon', oid, 'execute'),
        has_function_privilege('authenticated', oid, 'execute')
        from pg_proc where pronamespace = 'app'::regnamespace"""
    found = owner.execute(functions).fetchall()
    assert {name: is_definer for name, is_definer, *_ in found} == FUNCTIONS
    assert {config[0] for _, _, config, *_ in found} == {'search_path=""'}
    assert {right for *_, anon, user in found for right in (anon, user)} == {False}


@pytest.mark.parametrize("name", sorted(PARTITIONED))
def test_a_partition_is_reached_through_its_table_alone(owner: Connection, name: str) -> None:
    query = """select c.oid, c.relname, c.relrowsecurity, c.relforcerowsecurity, c.reloptions
        from pg_inherits i join pg_class c on c.oid = i.inhrelid
        where i.inhparent = %s::regclass"""
    found = owner.execute(query, (f"app.{name}",)).fetchall()
    assert len(found) >= 3
    policies = "select polname, polroles::regrole[]::text[] from pg_policy where polrelid = %s"
    for oid, partition, is_enabled, is_forced, options in found:
        assert PARTITION.search(partition)
        assert (is_enabled, is_forced) == (True, True)
        assert ("fillfactor=50" in options) == (name == "processing_jobs")
        assert {f"{option}={value}" for option, value in GROWS.items()} <= set(options)
        kept = owner.execute(policies, (oid,)).fetchall()
        assert kept == [("keeper_all", ["uaol_owner"])]
        for role in ("anon", "authenticated", "service_role", "app_backend"):
            assert _rights(owner, role, partition) == set()


@pytest.mark.parametrize("role", ["anon", "authenticated", "service_role"])
def test_no_role_of_a_request_reads_the_revision(owner: Connection, role: str) -> None:
    assert _rights(owner, role, "alembic_version") == set()


@pytest.mark.parametrize("relation", sorted(PUBLISHED))
def test_published_names_are_kept(owner: Connection, relation: str) -> None:
    query = """select attname, format_type(atttypid, atttypmod) from pg_attribute
        where attrelid = %s::regclass and attnum > 0 and not attisdropped"""
    columns = dict(owner.execute(query, (f"app.{relation}",)).fetchall())
    assert PUBLISHED[relation].items() <= columns.items()


def test_every_table_has_published_names() -> None:
    assert set(PUBLISHED) == {*NAMES, *VIEWS} - {"jobs"}


@pytest.mark.parametrize(("relation", "column"), sorted(STATES))
def test_published_states_are_kept(owner: Connection, relation: str, column: str) -> None:
    query = """select pg_get_constraintdef(oid) from pg_constraint
        where conrelid = %s::regclass and contype = 'c'"""
    checks = [text for (text,) in owner.execute(query, (f"app.{relation}",)) if column in text]
    assert len(checks) == 1
    assert {part for part in checks[0].split("'") if part.isalpha()} >= STATES[relation, column]
