"""A fresh database for one run, and the CPU of the server that holds it.

Both environments have psycopg, so the yardstick and the peers share this module.
"""

import contextlib
import os
from collections.abc import Iterator
from urllib.parse import urlsplit

import psutil  # type: ignore[import-untyped]
import psycopg
from psycopg import sql


@contextlib.contextmanager
def fresh_database(dsn: str, name: str) -> Iterator[str]:
    """Create a database for this run, give its URL, drop it with all its sessions afterwards.

    `dsn` is a superuser's libpq URL to any database of a durable server.
    """
    database = f"bench_{name}_{os.getpid()}"
    with psycopg.connect(dsn, autocommit=True) as conn:
        _require_durable(conn)
        conn.execute(sql.SQL("create database {}").format(sql.Identifier(database)))
        try:
            yield urlsplit(dsn)._replace(path=f"/{database}").geturl()
        finally:
            drop = sql.SQL("drop database {} with (force)")
            conn.execute(drop.format(sql.Identifier(database)))


def _require_durable(conn: psycopg.Connection[tuple[str, ...]]) -> None:
    for name in ("fsync", "synchronous_commit", "full_page_writes"):
        row = conn.execute("select current_setting(%s)", (name,)).fetchone()
        if row is None or row[0] != "on":
            raise SystemExit(f"The server runs with {name} off; measure on a durable one.")


def postmaster(dsn: str) -> psutil.Process:
    """The server's first process; it must run on this machine and be visible from here."""
    with psycopg.connect(dsn) as conn:
        parent = psutil.Process(conn.info.backend_pid).parent()
    if parent is None:
        raise SystemExit("The server does not run on this machine.")
    return parent


def cpu_seconds(*roots: psutil.Process) -> float:
    """CPU seconds of the processes, of their live descendants, and of those that they reaped."""
    total = 0.0
    for root in roots:
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in (root, *root.children(recursive=True)):
                with contextlib.suppress(psutil.NoSuchProcess):
                    total += sum(process.cpu_times()[:4])
    return total
