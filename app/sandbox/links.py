"""The seam below the executors: how a sandbox with a waiting runner is started, and spoken to.

A backend only starts rooms and moves bytes. What is said over a link is `executors/frames.py`'s,
who runs what in which room is the pool's. So a new backend is one class of a few methods.
"""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from app.sandbox.types import Capabilities, Limits, Usage


@dataclass(frozen=True)
class Mounted:
    """A host folder that the sandbox sees, read-only, at `target`."""

    source: Path
    target: str


@dataclass(frozen=True)
class Room:
    """What is fixed when a sandbox is started, before anybody knows its task.

    `work_bytes` is the size of `/task`, which holds code, inputs and outputs. The runner imports
    the modules of `imports` before it says that it is ready; those that are missing are passed
    over. `sites` are folders inside, put behind the sandbox's own on `sys.path`. `egress` is a
    host folder of this one room, seen inside as `/run/egress`; a socket may appear in it later.
    """

    limits: Limits = field(default_factory=Limits)
    work_bytes: int = 320 * 2**20
    imports: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    mounts: tuple[Mounted, ...] = ()
    egress: Path | None = None


@dataclass(frozen=True)
class Fate:
    """What the outside saw of a sandbox that has ended; `complaint` is its launcher's own.

    `outage` says what of ours broke down under it, if that was its end: no fault of the task's.
    """

    is_oom: bool = False
    usage: Usage = field(default_factory=Usage)
    complaint: str = ""
    outage: str = ""


class Link(Protocol):
    """A started sandbox: bytes to its runner, bytes from it, and its certain end."""

    reader: asyncio.StreamReader

    async def send(self, data: bytes) -> None:
        """Bytes to the runner, waiting while it is busy. Raises OSError once it is gone."""
        ...

    async def kill(self) -> Fate:
        """End it at once; when this returns nothing of it runs or is left. May be called twice."""
        ...


class Backend(Protocol):
    """Starts sandboxes of one kind."""

    name: str

    async def capabilities(self) -> Capabilities:
        """See `Executor.capabilities`; asked often, so kept. Raises IsolationError."""
        ...

    async def head(self) -> dict[str, object]:
        """What the runner must know of the place it is in: `sites`, `prefix` (see the frames)."""
        ...

    async def launch(self, room: Room) -> Link:
        """Start a sandbox whose runner waits for its first frame; does not wait for it to be up.

        Raises IsolationError where it cannot work at all; OSError for what may pass.
        """
        ...

    async def close(self) -> None:
        """Give back what `launch` needed; its links are killed by those who hold them."""
        ...
