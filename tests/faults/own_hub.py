"""A durable PostgreSQL of a test's own, which it may kill, stop at once and start again."""

from pathlib import Path

import psutil

from app.kernel.embedded import EmbeddedHub, bootstrap
from app.kernel.embedded_process import find_account, find_programs, run_program
from app.kernel.migrate import upgrade


class OwnHub:
    """A server that only this test uses; fsync is on, as it must be for what is tested."""

    def __init__(self, home: Path, **settings: str) -> None:
        options = {"shared_buffers": "16MB", "wal_buffers": "1MB", **settings}
        self._share = EmbeddedHub(home, settings=options)
        self.hub = self._share.start()
        bootstrap(self.hub.dsn(self.hub.superuser))
        upgrade(self.hub.dsn("uaol_owner"))

    def kill(self) -> None:
        pid = int((self.hub.data_dir / "postmaster.pid").read_text().split()[0])
        server = psutil.Process(pid)
        server.kill()
        server.wait(20)

    def stop_at_once(self) -> None:
        """`pg_ctl stop -m immediate`: every backend ends where it is, nothing is written out."""
        done = run_program(
            find_programs(self.hub.version) / "pg_ctl",
            *("stop", "-m", "immediate", "-w", "-D", str(self.hub.data_dir)),
            account=find_account(self.hub.data_dir),
            timeout=60,
        )
        assert done.is_success, done.output

    def start_again(self) -> None:
        """What the next process of the platform does when it starts."""
        self._share.stop()
        self._share.start()

    def close(self) -> None:
        self._share.stop()
