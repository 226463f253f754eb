"""What a room may be given besides walls: packages of its own, and a way out to allowed hosts.

Both are made elsewhere; the executor knows only these shapes.
"""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Protocol

from app.sandbox.links import Mounted
from app.sandbox.types import Capabilities, EgressCall, TaskResult, TaskSpec

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
    """The way out of one task, as long as it is open."""

    calls: list[EgressCall]

    async def close(self) -> None:
        """End what goes through; `calls` is whole afterwards."""
        ...


class Egress(Protocol):
    """The operator's allow-lists by name, and folders in which their sockets appear."""

    def policy(self, name: str) -> object:
        """Raises AppError(INVALID_INPUT) for a name that is no policy's."""
        ...

    def new_folder(self) -> Path:
        """An empty folder to mount as `/run/egress` of one sandbox."""
        ...

    def drop_folder(self, folder: Path) -> None:
        """Remove the folder of a sandbox that has ended."""
        ...

    async def open(self, folder: Path, policy_name: str, task_id: str) -> Door:
        """Let the socket appear in the folder, for one task."""
        ...
