"""Small embedded hubs, and what the tests ask of them."""

import os
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from app.kernel import embedded_process as process
from app.kernel.embedded import EmbeddedHub
from app.kernel.errors import AppError

AS_ROOT = os.geteuid() == 0
SMALL = {"shared_buffers": "16MB", "wal_buffers": "1MB"}
Holder = Callable[..., "subprocess.Popen[str]"]
Mount = Callable[..., None]


def small_hub(home: Path, **options: Any) -> EmbeddedHub:
    """A hub that is quick to start and stop."""
    return EmbeddedHub(home, **{"durable": False, "settings": SMALL, **options})


def postmaster_pid(data_dir: Path) -> int:
    return int((data_dir / "postmaster.pid").read_text().split()[0])


def told_pid(owner: "subprocess.Popen[str]") -> int:
    """The postmaster's number, which a process that holds a hub prints first."""
    assert owner.stdout is not None
    return int(owner.stdout.readline())


def kill(owner: "subprocess.Popen[str]") -> None:
    """Kill a process that holds a hub, so that it cannot stop its server, and what it runs."""
    os.killpg(owner.pid, signal.SIGSTOP)
    below = psutil.Process(owner.pid).children(recursive=True)
    os.killpg(owner.pid, signal.SIGKILL)
    owner.communicate()
    wait_until(lambda: not any(map(_is_at_work, below)))


def _is_at_work(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def wait_until(is_true: Callable[[], object], seconds: float = 20) -> None:
    """Look every 10 ms until something is true; fails after `seconds`."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while not is_true():
        assert time.monotonic() < deadline, "it did not become true in time"
        pause.wait(0.01)


def one(dsn: str, query: str) -> object:
    with psycopg.connect(dsn, autocommit=True) as conn:
        row = conn.execute(query).fetchone()
    return row[0] if row else None


def is_alive(home: Path) -> bool:
    return bool(process.find_processes(home / "pg18"))


def refused(hub: EmbeddedHub) -> AppError:
    with pytest.raises(AppError) as caught:
        hub.start()
    return caught.value


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def delete(folder: Path) -> None:
    """Delete it under a server that goes on writing there."""

    def is_gone() -> bool:
        shutil.rmtree(folder, ignore_errors=True)
        return not folder.exists()

    wait_until(is_gone)
