"""The facade: folders for sandboxes, and doors in them for tasks that have a policy."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path

from app.kernel.egress import Resolve, is_public, resolve
from app.kernel.errors import AppError, Code
from app.sandbox.egress.door import Door
from app.sandbox.egress.folders import Folders
from app.sandbox.egress.policies import Policy
from app.sandbox.egress.upstream import Dialler


class Egress:
    """Everything by which tasks of this process reach the outside."""

    def __init__(
        self,
        policies: Mapping[str, Policy],
        *,
        look_up: Resolve = resolve,
        is_open: Callable[[str], bool] = is_public,
        root: Path | None = None,
    ) -> None:
        """`look_up` and `is_open` find and judge addresses; `root` is as in `Folders`."""
        self.policies = dict(policies)
        self._dialler = Dialler(look_up, is_open)
        self._folders = Folders(root)
        self._doors: set[Door] = set()

    def names(self) -> tuple[str, ...]:
        """The policies that a task can name."""
        return tuple(sorted(self.policies))

    def policy(self, name: str) -> Policy:
        """A policy by its name. Raises AppError(INVALID_INPUT) that lists the names there are."""
        found = self.policies.get(name)
        if found is None:
            known = ", ".join(self.names())
            raise AppError(
                Code.INVALID_INPUT,
                f"There is no egress policy named {name[:64]!r}.",
                hint=f"Use one of: {known}." if known else "The operator lets no task out.",
                details={"policies": list(self.names())},
            )
        return found

    def new_folder(self) -> Path:
        """An empty folder to mount, read-only, as `/run/egress` of one sandbox.

        Raises AppError(SANDBOX_FAILED) where none can be made.
        """
        try:
            return self._folders.new()
        except OSError as error:
            raise _failed(error) from error

    def drop_folder(self, folder: Path) -> None:
        """Remove the folder of a sandbox that has ended; one that is gone is no error."""
        self._folders.drop(folder)

    async def open(self, folder: Path, policy_name: str, task_id: str) -> Door:
        """Let the proxy's socket appear in `folder`, for one task, under a policy.

        One door at a time in a folder. Raises AppError: INVALID_INPUT, SANDBOX_FAILED.
        """
        door = Door(self.policy(policy_name), task_id, self._dialler, self._doors.discard)
        try:
            await door.open(folder)
        except OSError as error:
            raise _failed(error) from error
        self._doors.add(door)
        return door

    async def close(self) -> None:
        """Close every door and remove every folder."""
        await asyncio.gather(*(door.close() for door in list(self._doors)))
        self._folders.close()


def _failed(error: OSError) -> AppError:
    return AppError(
        Code.SANDBOX_FAILED,
        f"The way out of the sandbox cannot be opened: {error.strerror or error}.",
        hint="Try again; see that the folder for sockets can be written.",
    )
