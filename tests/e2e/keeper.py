"""Keeps one real server for all test processes: starts it, stops it when the last one lets go.

    python -m tests.e2e.keeper FOLDER

Each test process holds a shared lock on FOLDER/users for as long as it may ask something. The
kernel drops that lock however the process ends, so a killed test run leaves no server behind.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO

UAOL = Path(sys.executable).parent / "uaol"
UPLOAD_LIMIT = 8 * 2**20
REQUEST_LIMIT = 2**20
_READY = "Serving at "


def environment(home: Path) -> dict[str, str]:
    """The server's surroundings: nothing of whoever runs the tests, small limits, a free port."""
    kept = {key: value for key, value in os.environ.items() if not _is_a_setting(key)}
    return kept | {
        "UAOL_HOME": str(home),
        "UAOL_PORT": "0",
        "UAOL_UPLOAD_LIMIT": str(UPLOAD_LIMIT),
        "UAOL_REQUEST_LIMIT": str(REQUEST_LIMIT),
        "UAOL_POSTGRES_SHARED_BUFFERS": "64MB",
        "UAOL_MCP_CONFIG": str(Path(__file__).parents[2] / "mcp_config.yaml"),
        "UAOL_LOG_LEVEL": "WARNING",
        # An engine is restarted by its own tests.
        "UAOL_SANDBOX_EXECUTOR": "bubblewrap",
    }


def _is_a_setting(key: str) -> bool:
    return key.startswith("UAOL_") or key in {"DATABASE_URL", "NO_COLOR", "FORCE_COLOR"}


def start(
    command: str, surroundings: Mapping[str, str], log: IO[str]
) -> tuple[subprocess.Popen[str], str]:
    """A `uaol serve` or `up` in a session of its own, and its URL once it serves."""
    server = subprocess.Popen(
        [UAOL, command],
        env=dict(surroundings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert server.stdout is not None
    for line in server.stdout:
        log.write(line)
        if line.startswith(_READY):
            return server, line.removeprefix(_READY).split()[0]
    raise RuntimeError(f"the server ended with {server.wait()} before it served")


def _drain(source: IO[str], log: IO[str]) -> None:
    for line in source:
        log.write(line)
        log.flush()


def main(folder: Path) -> None:
    """Serve until nobody holds `users`."""
    state = folder / "server.json"
    with (folder / "server.log").open("a") as log, (folder / "users").open("a") as users:
        server, url = start("serve", environment(folder / "home"), log)
        assert server.stdout is not None
        threading.Thread(target=_drain, args=(server.stdout, log), daemon=True).start()
        state.write_text(json.dumps({"url": url, "pid": server.pid}))
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        fcntl.flock(users, fcntl.LOCK_EX)
        state.unlink()
        server.send_signal(signal.SIGTERM)
        server.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
