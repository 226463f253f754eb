"""What a room may be given besides walls: packages of its own, and a way out to allowed hosts.

Both are made elsewhere; the executor knows only these shapes.
"""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

from app.sandbox.links import Mounted
from app.sandbox.types import Capabilities, TaskResult, TaskSpec

Say = Callable[[str], None]
Run = Callable[[TaskSpec], Awaitable[TaskResult]]


class Prepared(Protocol):
    """Requirements made ready: what to mount, and which of its folders go on `sys.path`."""

    @property
    def mounts(self) -> tuple[Mounted, ...]:
        """Host folders and where the sandbox sees them."""
        ...

    @property
    def sites(self) -> tuple[str, ...]:
        """Folders inside, to be put behind the sandbox's own."""
        ...


class Layers(Protocol):
    """Packages that the sandbox's own Python does not have, built once each set of them."""

    def build_with(self, run: Run) -> None:
        """Name the executor in whose sandboxes they are built."""
        ...

    async def room_for(
        self, requirements: Sequence[str], capabilities: Capabilities, told: Say | None = None
    ) -> Prepared:
        """The layer that meets them all, built if it is new; nothing where all is installed.

        Raises AppError.
        """
        ...

    async def close(self) -> None:
        """End what is being built."""
        ...


class Door(Protocol):
    """One task's way out: a host folder with a socket in it, seen inside as `/run/egress`."""

    @property
    def folder(self) -> Path:
        """The host folder."""
        ...

    async def close(self) -> None:
        """Cut what is open and remove the folder."""
        ...


class Egress(Protocol):
    """The operator's allow-lists by name."""

    async def open(self, policy: str, task_id: str) -> Door:
        """A door for one task. Raises AppError(INVALID_INPUT) for an unknown policy."""
        ...
