"""One embedded server per version and session, and homes that tests may break."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.kernel.embedded import Hub
from tests.conftest import cannot_run
from tests.kernel.hubs import Holder, Mount, small_hub

ROOT = Path(__file__).parents[2]
_MEMORY_DISK = Path("/dev/shm")
# Reports the postmaster's number, then holds its share until its input is closed. Told "draft", it
# does not get past initdb, however late it is killed.
HOLDER = """
import signal, sys
from pathlib import Path
from app.kernel.embedded import EmbeddedHub
if sys.argv[2] == "draft":
    Path.rename = lambda *_: signal.pause()
hub = EmbeddedHub(Path(sys.argv[1]), durable=False, settings={"shared_buffers": "16MB"})
print((hub.start().data_dir / "postmaster.pid").read_text().split()[0], flush=True)
sys.stdin.read()
if sys.argv[2] == "stop":
    hub.stop()
"""


def _folder(prefix: str) -> Path:
    # Homes are copied often; where there is a large memory disk that costs next to nothing.
    # Not pytest's own folder: it is closed to the user that PostgreSQL runs as under root.
    is_large = _MEMORY_DISK.is_dir() and shutil.disk_usage(_MEMORY_DISK).free > 2**31
    return Path(tempfile.mkdtemp(prefix=prefix, dir=_MEMORY_DISK if is_large else None))


@pytest.fixture(scope="session", params=[18, 16], ids=["pg18", "pg16"])
def hub(request: pytest.FixtureRequest) -> Iterator[Hub]:
    """A server for tests that leave it running."""
    home = _folder("uaol-hub-")
    with small_hub(home, version=request.param) as running:
        yield running
    shutil.rmtree(home)


@pytest.fixture
def home() -> Iterator[Path]:
    """An empty home; a server that a failed test leaves there is stopped."""
    path = _folder("uaol-home-")
    yield path
    _clear(path)


@pytest.fixture(scope="module")
def pristine() -> Iterator[Path]:
    """A home with complete data and no server, to be copied."""
    path = _folder("uaol-pristine-")
    with small_hub(path):
        pass
    yield path
    shutil.rmtree(path)


@pytest.fixture
def used_home(pristine: Path) -> Iterator[Path]:
    """A home that was used before: saves the seconds of initdb."""
    path = _folder("uaol-used-")
    subprocess.run(["cp", "-a", f"{pristine}/.", str(path)], check=True)
    yield path
    _clear(path)


def _clear(home: Path) -> None:
    if (home / "pg18" / "PG_VERSION").exists():
        small_hub(home)._server.stop()
    shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def hold() -> Iterator[Holder]:
    """Start a process of its own that attaches to a home."""
    started: list[subprocess.Popen[str]] = []

    def start(home: Path, end: str = "stop") -> "subprocess.Popen[str]":
        process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(home), end],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def mount(home: Path) -> Iterator[Mount]:
    """Mount a small memory disk over the home; only root may."""
    mounted = False

    def over(*options: str) -> None:
        nonlocal mounted
        if os.geteuid() != 0:
            cannot_run("only root can mount a small disk")
        command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(home)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            cannot_run(f"cannot mount a small disk here: {done.stderr.strip()}")
        mounted = True

    yield over
    if mounted:
        if (home / "pg18" / "PG_VERSION").exists():
            (home / "filler").unlink(missing_ok=True)
            small_hub(home)._server.stop()
        subprocess.run(["umount", str(home)], check=True)
