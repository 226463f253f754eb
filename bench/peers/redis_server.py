"""A Redis server for one run: Debian's program, a free loopback port, a folder that goes away."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

START_S = 10.0
INSTALL_S = 120


def find_program() -> str:
    """The path of `redis-server`, installed by apt-get when root lacks it; else `SystemExit`."""
    if found := shutil.which("redis-server"):
        return found
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise SystemExit("redis-server is missing; install it with the system's package manager.")
    # The list of packages may be too old to find it, or absent.
    for step in (["update"], ["install", "--yes", "--no-install-recommends", "redis-server"]):
        _apt_get(step)
    if found := shutil.which("redis-server"):
        return found
    raise SystemExit("redis-server is missing and apt-get could not install it.")


def _apt_get(step: list[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "--quiet", *step]
    output = sys.stderr.fileno()
    subprocess.run(command, env=environment, stdout=output, timeout=INSTALL_S, check=False)


@contextlib.contextmanager
def redis_server() -> Iterator[tuple[str, int]]:
    """A running server's URL and process id; it syncs its append-only file every second."""
    program, port = find_program(), _free_port()
    with tempfile.TemporaryDirectory() as folder:
        options = {
            "bind": "127.0.0.1",
            "port": str(port),
            "dir": folder,
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "loglevel": "warning",
        }
        words = [word for name, value in options.items() for word in (f"--{name}", value)]
        process = subprocess.Popen([program, *words], stdout=sys.stderr.fileno())
        try:
            _wait_for(port, process)
            yield f"redis://127.0.0.1:{port}/0", process.pid
        finally:
            process.terminate()
            process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise SystemExit("redis-server did not start.")
