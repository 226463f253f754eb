"""What the attacks are after: real things of this machine, put where a plain process reaches them.

A wall that was never touched proves nothing, so each target is there, and the controls reach it.
"""

import asyncio
import os
import platform
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from app.sandbox.executors.seccomp import ARCHITECTURES

# Set before any sandbox is started, so that whatever starts one inherits it.
CANARY = os.environ.setdefault("UAOL_ABUSE_CANARY", f"canary-{secrets.token_hex(8)}")
REPOSITORY = str(Path(__file__).resolve().parents[3])
TABLE = ARCHITECTURES[platform.machine()]
_SOCKETS = ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock")


@dataclass(frozen=True)
class Host:
    """The targets of one test: a folder of its own, a secret in it, services that listen."""

    folder: Path
    secret: Path
    port: int
    abstract: str
    mark: str = field(default_factory=lambda: f"uaol{secrets.token_hex(5)}")

    def paths(self) -> list[str]:
        """What is on the host and in no sandbox."""
        return [str(self.secret), str(self.folder), REPOSITORY, *_SOCKETS]


@contextmanager
def opened(folder: Path) -> Iterator[Host]:
    """The targets in `folder`; the services accept by their backlog alone."""
    secret = folder / "secret"
    secret.write_text("secret", encoding="utf-8")
    name = f"uaol-{secrets.token_hex(8)}"
    with ExitStack() as stack:
        port = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=100))
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind(f"\0{name}")
        abstract.listen(100)
        yield Host(folder, secret, port.getsockname()[1], name)


def own_addresses() -> list[str]:
    """This machine's addresses on the way to others, if there is any."""
    found = []
    for family, far in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((far, 9))
            except OSError:
                continue
            found.append(str(probe.getsockname()[0]))
    return found


def running(mark: str) -> list[int]:
    """The host's living processes of that name, which a task hands on to all that it forks."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            text = (process / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        head, _, tail = text.rpartition(")")
        if head.partition("(")[2] == mark and tail.split()[0] not in "ZX":
            found.append(int(process.name))
    return found


async def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for `condition`, which has to come within `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        await asyncio.sleep(0.01)
