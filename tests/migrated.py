"""Databases that several tests share, because they only read or bring users of their own."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

import psycopg

from app.kernel.embedded import Hub, bootstrap
from app.kernel.migrate import upgrade


@contextmanager
def empty_database(hub: Hub) -> Iterator[str]:
    """The name of a new database with nothing but the bootstrap; dropped at the end."""
    name = f"m_{uuid4().hex}"
    with psycopg.connect(hub.dsn(hub.superuser, "postgres"), autocommit=True) as admin:
        admin.execute(f"create database {name}")
        try:
            bootstrap(hub.dsn(hub.superuser, name))
            yield name
        finally:
            admin.execute(f"drop database {name} with (force)")


@contextmanager
def migrated_database(hub: Hub) -> Iterator[str]:
    """The name of a new database at the newest revision, migrated by its owner."""
    with empty_database(hub) as name:
        upgrade(hub.dsn("uaol_owner", name))
        yield name
