"""The server process of an embedded hub: made, started, found and stopped.

Nothing here is safe against a second caller: `EmbeddedHub` holds the start lock around it.
"""

import logging
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass

from app.kernel import embedded_files as files
from app.kernel import embedded_process as process

# Recovery after a crash replays up to max_wal_size of log; a slow disk needs minutes for that.
START_S = 300
CREATE_S = 300
_STOP_S = 60
_SETTLE_S = 10
_POLL_S = 0.05
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Server:
    """One data folder and the options that its server is started with."""

    layout: files.Layout
    settings: Mapping[str, str]
    tcp_port: int | None
    is_durable: bool

    def has_data(self) -> bool:
        """Whether first use is over; raises if the data are another version's or user's."""
        return files.check_data(self.layout, self._account())

    def create(self) -> None:
        """Run initdb in a draft folder and rename it, so that data are complete or absent."""
        account = self._account()
        self.kill()
        files.remove_leftovers(self.layout)
        self._open_paths(account)
        draft = files.new_data_dir(self.layout, account)
        try:
            args = (*self._initdb_args(), "-D", str(draft))
            done = self._run(account, "initdb", *args, timeout=CREATE_S)
            if not done.is_success:
                raise process.explain_output(
                    "creating its data", done.output, self.layout.home, None
                )
            with files.explained(self.layout.data_dir):
                draft.rename(self.layout.data_dir)
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def find(self) -> files.Postmaster | None:
        """The live server of the data folder, answering or not; None when there is none.

        Back ends that outlive their postmaster get ten seconds to end and are then killed:
        they hold the dead server's memory, and a new one must not start beside them.
        """
        deadline = time.monotonic() + _SETTLE_S
        while alive := process.find_processes(self.layout.data_dir):
            found = files.read_postmaster(self.layout.data_dir)
            if found is not None and found.pid in {each.pid for each in alive}:
                return found
            if time.monotonic() > deadline:
                process.kill_processes(alive)
            time.sleep(_POLL_S)
        return None

    def start(self) -> None:
        """Start the server and wait until it takes connections; none may be alive."""
        account, layout = self._account(), self.layout
        self._open_paths(account)
        files.prepare_socket_dir(layout.socket_dir, account)
        files.remove_stale(layout)
        files.write_configuration(
            layout, account, self.settings, tcp_port=self.tcp_port, is_durable=self.is_durable
        )
        log_size = files.size_of(layout.log)
        done = self._control(account, "-l", str(layout.log), "start", timeout=START_S)
        if not done.is_success:
            text = done.output + files.read_from(layout.log, log_size)
            raise process.explain_output("starting", text, layout.home, self.tcp_port)

    def stop(self) -> None:
        """Stop the server if it is alive: open transactions are rolled back, the rest is kept."""
        if self.find() is None:
            return
        account = self._account()
        files.open_path(self.layout.data_dir, account)
        done = self._control(account, "-m", "fast", "stop", timeout=_STOP_S)
        if not done.is_success and process.find_processes(self.layout.data_dir):
            raise process.explain_output("stopping", done.output, self.layout.home, None)

    def kill(self) -> None:
        """End a server whose data were deleted under it: it still holds the socket's lock."""
        process.kill_processes(process.find_processes(self.layout.data_dir))

    def _account(self) -> process.Account:
        return process.find_account(self.layout.data_dir)

    def _control(self, account: process.Account, *args: str, timeout: int) -> process.Outcome:
        common = ("-w", "-t", str(timeout), "-D", str(self.layout.data_dir))
        return self._run(account, "pg_ctl", *common, *args, timeout=timeout + 30)

    def _run(
        self, account: process.Account, name: str, *args: str, timeout: float
    ) -> process.Outcome:
        program = process.find_programs(self.layout.version) / name
        return process.run_program(program, *args, account=account, timeout=timeout)

    def _open_paths(self, account: process.Account) -> None:
        layout = self.layout
        opened = files.open_path(layout.data_dir, account)
        opened += files.open_path(layout.socket_dir, account)
        opened += files.open_programs(process.find_programs(layout.version), account)
        if foreign := [str(path) for path in opened if path != layout.home]:
            _log.warning("user %s may now pass through %s", account.name, ", ".join(foreign))

    def _initdb_args(self) -> list[str]:
        args = ["-U", files.SUPERUSER, "--encoding=UTF8", "--data-checksums", "--locale=C"]
        args += ["--auth-local=peer", "--auth-host=reject"]
        if self.layout.version >= 17:
            args += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        else:
            args += ["--lc-ctype=C.UTF-8"]
        return args if self.is_durable else [*args, "--no-sync"]
