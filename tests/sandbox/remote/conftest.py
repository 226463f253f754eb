"""A real sandboxd in a process of its own, over bubblewrap; nothing else is in its environment."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

import pytest

from app.sandbox import Sandbox
from app.sandbox.executors.remote import RemoteExecutor
from app.sandbox.wire import Address, parse_address, token_of
from tests.conftest import cannot_run

NO_WALLS = 3


@dataclass(frozen=True)
class Daemon:
    """A started sandboxd; `process` is ended with it."""

    address: Address
    process: subprocess.Popen[str]

    def executor(self, token: Path | None = None) -> RemoteExecutor:
        return RemoteExecutor(self.address, token_of(token))

    def end(self, number: int = signal.SIGTERM) -> int:
        """Signal it, wait for its end, and say how it ended."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(60)


@contextlib.contextmanager
def daemon(
    address: str, command: tuple[str, ...] = ("-m", "app.sandbox.daemon"), **settings: str
) -> Iterator[Daemon]:
    environment = {
        "PATH": os.environ["PATH"],
        "UAOL_SANDBOX_DAEMON": address,
        "UAOL_SANDBOX_EXECUTOR": "bubblewrap",
        **settings,
    }
    # its log goes to a file: nobody reads it while it serves, and a pipe would be full one day
    with (
        TemporaryFile("w+") as log,
        subprocess.Popen(
            [sys.executable, *command],
            env=environment, stdout=subprocess.PIPE, stderr=log, text=True,
        ) as process,
    ):  # fmt: skip
        assert process.stdout is not None
        said = process.stdout.readline()
        if not said.startswith("Serving"):
            code = process.wait(60)
            log.seek(0)
            complaint = log.read()
            if code == NO_WALLS and "cannot be isolated" in complaint:
                cannot_run(complaint)
            raise RuntimeError(complaint)
        started = Daemon(parse_address(said.split()[-1]), process)
        try:
            yield started
        finally:
            started.end()


Start = Callable[..., AbstractContextManager[Daemon]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """`with start(**settings) as daemon`: one at a socket of its own, for the test to end."""
    return lambda **settings: daemon(f"unix:{tmp_path}/d.sock", **settings)


@pytest.fixture(scope="session")
def shared() -> Iterator[Daemon]:
    """One for all tests that leave it be; it listens on a port, with a token."""
    with TemporaryDirectory(prefix="uaol-d-") as folder:
        token = Path(folder, "token")
        token.write_text("a secret\n")
        with daemon("tcp:127.0.0.1:0", UAOL_SANDBOX_DAEMON_TOKEN_FILE=str(token)) as started:
            yield started


@pytest.fixture(scope="session")
async def sandbox(anyio_backend: str, shared: Daemon) -> AsyncIterator[Sandbox]:
    """In place of the executors' own: the same tests, by way of the daemon."""
    opened = Sandbox([RemoteExecutor(shared.address, lambda: "a secret")])
    status = await opened.start()
    assert (status.available, status.executor) == (True, "sandboxd"), status
    yield opened
    await opened.close()
