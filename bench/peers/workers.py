"""A peer's workers: processes that end with the one that started them, however that one ends."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil  # type: ignore[import-untyped]

START_S = 30.0
_POLL_S = 0.05
_STOP_S = 5.0


@contextlib.contextmanager
def running(peer: str, count: int, options: Sequence[str]) -> Iterator[list[int]]:
    """Start `count` processes of a peer's module, wait until each is ready, give their ids."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        started = []
        for number in range(count):
            mark = Path(folder) / str(number)
            process = _start(peer, options, mark)
            stack.callback(_stop, process)
            started.append((process, mark))
        deadline = time.monotonic() + START_S
        while not all(mark.exists() for _, mark in started):
            if time.monotonic() > deadline or any(p.poll() is not None for p, _ in started):
                raise SystemExit(f"A worker of {peer} did not start.")
            time.sleep(_POLL_S)
        yield [process.pid for process, _ in started]


def _start(peer: str, options: Sequence[str], mark: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", f"bench.peers.{peer}", *options, "--work", str(mark)]
    # Whatever a worker prints must not reach the output that ends with the report.
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=sys.stderr.fileno())


def _stop(process: subprocess.Popen[bytes]) -> None:
    tree: list[psutil.Process] = []
    with contextlib.suppress(psutil.NoSuchProcess):
        tree = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        for child in tree:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        process.kill()
        process.wait()
    if process.stdin is not None:
        process.stdin.close()


def end_with_parent() -> None:
    """End this process with its parent, which holds the other end of standard input."""

    def watch() -> None:
        # Not through `sys.stdin`: a child forked meanwhile would wait for its lock for ever.
        os.read(0, 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
