"""The embedded hub: a real PostgreSQL in the home folder, started at first need.

Several processes share one server. Whoever comes first starts it, whoever leaves last stops
it, and it outlives a process that is killed: the next one attaches to it. It listens on a
Unix socket that only its own user and root can reach, and on loopback TCP only when asked.
"""

import atexit
import contextlib
import logging
import os
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode

import psycopg
from psycopg import sql

from app.kernel import embedded_files as files
from app.kernel import embedded_process as process
from app.kernel.embedded_locks import Attachment, start_lock
from app.kernel.errors import AppError, Code

DATABASE = "uaol"
BOOTSTRAP = Path(__file__).parents[2] / "supabase" / "bootstrap"
# Recovery after a crash replays up to max_wal_size of log.
_START_S = 300
_STOP_S = 60
_INIT_S = 300
_POLL_S = 0.05
_log = logging.getLogger(__name__)


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
    `durable=False` switches fsync off: for tests only, a crash of the machine loses the data.
    Raises `AppError` with a `HUB_*` code.
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
        self._layout = files.Layout(home.expanduser().resolve(), version)
        self._programs = process.find_programs(version)
        self._tcp_port = tcp_port
        self._settings = dict(settings or {})
        self._is_durable = durable
        self._attachment: Attachment | None = None
        self._hub: Hub | None = None
        self._pid = 0

    def start(self) -> Hub:
        """Attach to the running server, or create and start it; a second call does nothing."""
        if self._hub is not None:
            return self._hub
        files.prepare_home(self._layout.home)
        with self._locked():
            self._attachment = Attachment(self._lock_path("attached"))
            try:
                self._hub = self._attach_or_start()
            except BaseException:
                self._detach()
                raise
        self._pid = os.getpid()
        atexit.register(self._stop_at_exit)
        return self._hub

    def stop(self) -> None:
        """Detach; the last one to leave stops the server. A second call does nothing."""
        if self._attachment is None:
            return
        atexit.unregister(self._stop_at_exit)
        with self._locked():
            try:
                if self._attachment.is_last():
                    self._stop_server()
            finally:
                self._detach()

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
        return start_lock(self._lock_path("start"), _INIT_S + _START_S)

    def _detach(self) -> None:
        if self._attachment is not None:
            self._attachment.drop()
        self._attachment = self._hub = None

    def _stop_at_exit(self) -> None:
        # A forked child inherits the registration, but not the share.
        if self._pid == os.getpid():
            self.stop()

    def _attach_or_start(self) -> Hub:
        account = process.find_account(self._layout.data_dir)
        if not files.check_data(self._layout, account):
            self._create(account)
        hub = self._attach()
        if hub is None:
            self._start_server(account)
            hub = self._attach()
        if hub is None:
            raise AppError(Code.HUB_UNAVAILABLE, "PostgreSQL ended right after its start.")
        return hub

    # --- first use -----------------------------------------------------------------

    def _create(self, account: process.Account) -> None:
        layout = self._layout
        process.end_orphans(process.find_processes(layout.data_dir), grace=0)
        files.remove_leftovers(layout)
        self._open_paths(account)
        draft = files.new_data_dir(layout, account)
        try:
            args = [*_initdb_args(layout.version), *([] if self._is_durable else ["--no-sync"])]
            program = self._programs / "initdb"
            done = process.run_program(
                program, *args, "-D", str(draft), account=account, timeout=_INIT_S
            )
            if not done.is_success:
                raise process.explain_output("creating its data", done.output, layout.home, None)
            with files.explained(layout.data_dir):
                draft.rename(layout.data_dir)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _open_paths(self, account: process.Account) -> None:
        changed = files.open_path(self._layout.data_dir, account)
        changed += files.open_path(self._layout.socket_dir, account)
        changed += files.open_programs(self._programs, account)
        if changed:
            names = ", ".join(map(str, changed))
            _log.warning("%s may now pass through (chmod o+x): %s", account.name, names)

    # --- start and stop ------------------------------------------------------------

    def _start_server(self, account: process.Account) -> None:
        layout = self._layout
        process.end_orphans(process.find_processes(layout.data_dir))
        files.remove_stale(layout)
        self._open_paths(account)
        files.prepare_socket_dir(layout.socket_dir, account)
        files.write_configuration(
            layout, account, self._settings, tcp_port=self._tcp_port, is_durable=self._is_durable
        )
        offset = layout.log.stat().st_size if layout.log.exists() else 0
        done = self._control(account, "-l", str(layout.log), "start", timeout=_START_S)
        if not done.is_success:
            text = done.output + _read_from(layout.log, offset)
            raise process.explain_output("starting", text, layout.home, self._tcp_port)

    def _stop_server(self) -> None:
        if not process.find_processes(self._layout.data_dir):
            return
        account = process.find_account(self._layout.data_dir)
        files.open_path(self._layout.data_dir, account)
        done = self._control(account, "-m", "fast", "stop", timeout=_STOP_S)
        if not done.is_success and process.find_processes(self._layout.data_dir):
            raise process.explain_output("stopping", done.output, self._layout.home, None)

    def _control(self, account: process.Account, *args: str, timeout: int) -> process.Outcome:
        common = ("-w", "-t", str(timeout), "-D", str(self._layout.data_dir))
        program = self._programs / "pg_ctl"
        return process.run_program(program, *common, *args, account=account, timeout=timeout + 30)

    # --- attaching -----------------------------------------------------------------

    def _attach(self) -> Hub | None:
        deadline = time.monotonic() + _START_S
        while (hub := self._find()) is not None:
            try:
                with _connect(hub.dsn(hub.superuser, "postgres")) as conn:
                    if self._is_usable(conn, hub):
                        self._complete(conn, hub)
                        return hub
            except psycopg.OperationalError as error:
                self._check_reachable(hub, error, deadline)
                time.sleep(_POLL_S)
                continue
            self._stop_server()
        return None

    def _find(self) -> Hub | None:
        """The server that is alive in the data folder, whether it answers already or not."""
        found = files.read_postmaster(self._layout.data_dir)
        alive = {each.pid for each in process.find_processes(self._layout.data_dir)}
        if found is None or found.pid not in alive:
            return None
        return Hub(
            found.socket_dir,
            found.port,
            files.SUPERUSER,
            DATABASE,
            self._layout.data_dir,
            self._layout.version,
        )

    def _check_reachable(self, hub: Hub, error: Exception, deadline: float) -> None:
        """Decide what a server that is alive and does not answer needs: patience or a restart."""
        is_socket_lost = not (hub.socket_dir / f".s.PGSQL.{hub.port}").exists()
        if time.monotonic() < deadline and not is_socket_lost:
            return
        assert self._attachment is not None
        if is_socket_lost and self._attachment.is_last():
            self._stop_server()
            return
        raise AppError(
            Code.HUB_UNAVAILABLE,
            f"The hub's server runs but does not answer: {error}",
            hint="End the other programs that use this home, then try again.",
        ) from error

    def _is_usable(self, conn: psycopg.Connection[Any], hub: Hub) -> bool:
        """Whether the running server is as asked for; if not, True only after a restart."""
        row = conn.execute("select current_setting('fsync')").fetchone()
        is_weak = self._is_durable and row != ("on",)
        is_elsewhere = self._tcp_port is not None and hub.port != self._tcp_port
        if not is_weak and not is_elsewhere:
            return True
        assert self._attachment is not None
        if self._attachment.is_last():
            return False
        raise AppError(
            Code.HUB_LOCKED,
            "The hub runs without fsync." if is_weak else "The hub runs without that TCP port.",
            hint="End the other programs that use this home, then try again.",
        )

    def _complete(self, conn: psycopg.Connection[Any], hub: Hub) -> None:
        known = conn.execute("select 1 from pg_database where datname = %s", (hub.database,))
        if known.fetchone() is None:
            conn.execute(sql.SQL("create database {}").format(sql.Identifier(hub.database)))
        if self._tcp_port is not None:
            password = files.read_password(self._layout).encode()
            verifier = conn.pgconn.encrypt_password(
                password, hub.superuser.encode(), b"scram-sha-256"
            )
            change = sql.SQL("alter role {} password {}")
            name = sql.Identifier(hub.superuser)
            conn.execute(change.format(name, sql.Literal(verifier.decode())))


def bootstrap(dsn: str, folder: Path = BOOTSTRAP) -> list[str]:
    """Apply the embedded hub's bootstrap files to one database, in the order of their names.

    They may be applied any number of times, in several databases of one server at once.
    `dsn` must be a superuser's. Returns the names of the files applied.
    """
    scripts = sorted(folder.glob("*.sql"))
    if not scripts:
        raise AppError(
            Code.HUB_UNAVAILABLE,
            f"There is no bootstrap SQL in {folder}.",
            hint="Run from a complete checkout.",
        )
    try:
        with _connect(dsn) as conn, conn.transaction():
            # Roles belong to the whole server, and only shared tables are locked there.
            conn.execute("lock table pg_catalog.pg_authid in share row exclusive mode")
            for script in scripts:
                conn.execute(script.read_bytes())
    except psycopg.Error as error:
        raise AppError(
            Code.HUB_UNAVAILABLE,
            f"The database could not be prepared: {error}",
            hint="The bootstrap is only for the embedded hub and needs its superuser.",
        ) from error
    return [script.name for script in scripts]


def _connect(dsn: str) -> psycopg.Connection[Any]:
    return psycopg.connect(dsn, autocommit=True, connect_timeout=10)


def _initdb_args(version: int) -> list[str]:
    common = ["-U", files.SUPERUSER, "--encoding=UTF8", "--data-checksums", "--locale=C"]
    common += ["--auth-local=peer", "--auth-host=reject"]
    if version >= 17:
        return [*common, "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return [*common, "--lc-ctype=C.UTF-8"]


def _read_from(path: Path, offset: int) -> str:
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(offset)
        return file.read().decode("utf-8", "replace")
