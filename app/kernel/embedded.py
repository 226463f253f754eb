"""The embedded hub: a real PostgreSQL in the home folder, started at first need.

Several processes share one server. Whoever comes first starts it, whoever leaves last stops
it, and it outlives a process that is killed: the next one attaches to it. It listens on a
Unix socket that only its own user and root can reach, and on loopback TCP only when asked.
"""

import atexit
import contextlib
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql

from app.kernel import embedded_files as files
from app.kernel.embedded_locks import Attachment, start_lock
from app.kernel.embedded_process import disk_full, find_programs
from app.kernel.embedded_server import CREATE_S, START_S, Server
from app.kernel.errors import AppError, Code

DATABASE = "uaol"
BOOTSTRAP = Path(__file__).parents[2] / "supabase" / "bootstrap"
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class Hub:
    """A running embedded server and how to reach it."""

    socket_dir: Path
    port: int
    superuser: str
    database: str
    data_dir: Path
    version: int

    def dsn(self, user: str, database: str | None = None, **options: str) -> str:
        """A libpq URL over the Unix socket; `options` are libpq's connection parameters."""
        query = urlencode(
            {"host": str(self.socket_dir), "port": self.port, **options}, quote_via=quote
        )
        return f"postgresql://{quote(user)}@/{quote(database or self.database)}?{query}"


class EmbeddedHub:
    """One process's share in the hub of a home folder; also a context manager.

    `settings` override the server's defaults when this process is the one to start it.
    `durable=False` switches fsync off, for tests only: a crash loses commits or all data.
    `tcp_port` adds loopback TCP with SCRAM; the superuser's password is then in
    `<home>/secrets/postgres<version>`. Raises `AppError` with a `HUB_*` code.
    """

    def __init__(
        self,
        home: Path,
        *,
        version: int = 18,
        tcp_port: int | None = None,
        settings: Mapping[str, str] | None = None,
        durable: bool = True,
    ) -> None:
        find_programs(version)
        layout = files.Layout(home.expanduser().resolve(), version)
        self._layout = layout
        self._server = Server(layout, dict(settings or {}), tcp_port, durable)
        self._attachment: Attachment | None = None
        self._hub: Hub | None = None
        self._pid = 0

    def start(self) -> Hub:
        """Attach to the running server, or create and start it; a second call does nothing."""
        if self._hub is not None:
            return self._hub
        files.prepare_home(self._layout.home)
        with self._locked():
            attachment = Attachment(self._lock_path("attached"))
            try:
                hub = self._attach(attachment)
            except BaseException:
                self._abandon(attachment)
                raise
        self._attachment, self._hub, self._pid = attachment, hub, os.getpid()
        atexit.register(self._stop_at_exit)
        return hub

    def stop(self) -> None:
        """Detach; the last one to leave stops the server. A second call does nothing."""
        attachment, self._attachment, self._hub = self._attachment, None, None
        if attachment is None:
            return
        atexit.unregister(self._stop_at_exit)
        try:
            if not self._layout.home.exists():
                self._server.kill()
                return
            with self._locked():
                if attachment.is_last():
                    self._server.stop()
        finally:
            attachment.drop()

    def __enter__(self) -> Hub:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _lock_path(self, kind: str) -> Path:
        return self._layout.home / f".pg{self._layout.version}.{kind}"

    def _locked(self) -> contextlib.AbstractContextManager[None]:
        return start_lock(self._lock_path("start"), CREATE_S + START_S)

    def _abandon(self, attachment: Attachment) -> None:
        # A server that nobody is attached to would run on unseen.
        with contextlib.suppress(AppError):
            if attachment.is_last():
                self._server.stop()
        attachment.drop()

    def _stop_at_exit(self) -> None:
        # A forked child inherits the registration, but the share is its parent's.
        if self._pid == os.getpid():
            self.stop()

    def _attach(self, attachment: Attachment) -> Hub:
        if not self._server.has_data():
            self._server.create()
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if (found := self._server.find()) is None:
                self._server.start()
                continue
            hub = self._hub_of(found)
            conn = self._connect(hub, attachment, deadline)
            if conn is None:
                continue
            with conn, _explained(self._layout.home):
                reason = self._unlike(conn)
                if reason is None:
                    self._complete(conn, hub)
                    return hub
            self._restart(attachment, reason)
        raise AppError(
            Code.HUB_UNAVAILABLE,
            "The hub's server did not come up in time.",
            hint=f"Read {self._layout.log}, then try again.",
        )

    def _hub_of(self, found: files.Postmaster) -> Hub:
        layout = self._layout
        return Hub(
            found.socket_dir,
            found.port,
            files.SUPERUSER,
            DATABASE,
            layout.data_dir,
            layout.version,
        )

    def _connect(
        self, hub: Hub, attachment: Attachment, deadline: float
    ) -> psycopg.Connection[Any] | None:
        """A superuser's connection; None when it is worth another look at the server."""
        try:
            return _open(hub.dsn(hub.superuser, "postgres"))
        except psycopg.OperationalError as error:
            # Starting up, in recovery or shutting down.
            if "the database system is" in str(error) and time.monotonic() < deadline:
                time.sleep(_POLL_S)
            elif not (hub.socket_dir / f".s.PGSQL.{hub.port}").exists():
                self._restart(attachment, "has lost its socket")
            elif self._server.find() is not None:
                raise AppError(
                    Code.HUB_UNAVAILABLE,
                    f"The hub's server runs but cannot be reached: {error}",
                    hint="End the other programs that use this home, then try again.",
                ) from error
        return None

    def _restart(self, attachment: Attachment, reason: str) -> None:
        """Stop the running server for another start, unless somebody else uses it."""
        if not attachment.is_last():
            raise AppError(
                Code.HUB_LOCKED,
                f"The hub's server is in use by another program and {reason}.",
                hint="End the other programs that use this home, then try again.",
            )
        self._server.stop()

    def _unlike(self, conn: psycopg.Connection[Any]) -> str | None:
        """What the running server lacks of what was asked for; None when it is as wanted."""
        names = ("fsync", "port", "listen_addresses")
        asked = "select current_setting(%s), current_setting(%s), current_setting(%s)"
        fsync, port, addresses = conn.execute(asked, names).fetchone() or ("", "", "")
        if self._server.is_durable and fsync != "on":
            return "runs without fsync"
        wanted = self._server.tcp_port
        if wanted is not None and (port != str(wanted) or not addresses):
            return f"does not listen on TCP port {wanted}"
        return None

    def _complete(self, conn: psycopg.Connection[Any], hub: Hub) -> None:
        known = conn.execute("select 1 from pg_database where datname = %s", (hub.database,))
        if known.fetchone() is None:
            conn.execute(sql.SQL("create database {}").format(sql.Identifier(hub.database)))
        if self._server.tcp_port is None:
            return
        password = files.read_password(self._layout).encode()
        user = hub.superuser.encode()
        # Hashed here, so that no server log can ever show it.
        verifier = conn.pgconn.encrypt_password(password, user, b"scram-sha-256").decode()
        change = sql.SQL("alter role {} password {}")
        conn.execute(change.format(sql.Identifier(hub.superuser), sql.Literal(verifier)))


def bootstrap(dsn: str, folder: Path = BOOTSTRAP) -> list[str]:
    """Apply the embedded hub's bootstrap files to one database, in the order of their names.

    They may be applied any number of times, and to several databases of one server at once.
    `dsn` must be a superuser's. Returns the names of the files applied.
    """
    scripts = sorted(folder.glob("*.sql"))
    if not scripts:
        raise AppError(
            Code.HUB_UNAVAILABLE,
            f"There is no bootstrap SQL in {folder}.",
            hint="Run from a complete checkout.",
        )
    with _explained(folder), _open(dsn) as conn, conn.transaction():
        # Roles belong to the whole server; only a lock on a shared table spans its databases.
        conn.execute("lock table pg_catalog.pg_authid in share row exclusive mode")
        for script in scripts:
            conn.execute(script.read_bytes())
    return [script.name for script in scripts]


def _open(dsn: str) -> psycopg.Connection[Any]:
    return psycopg.connect(dsn, autocommit=True, connect_timeout=10)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except psycopg.errors.DiskFull as error:
        raise disk_full(path) from error
    except psycopg.Error as error:
        raise AppError(
            Code.HUB_UNAVAILABLE,
            f"The database could not be prepared: {error}",
            hint="Only the embedded hub, as its superuser, can be prepared like this.",
        ) from error
