"""Two kernel locks of a hub: who may start or stop it, and who is attached to it.

Both are `flock`s, which the kernel drops when their process dies, however it dies.
"""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from app.kernel.embedded_files import explained, give_to_home_owner
from app.kernel.errors import AppError, Code

_POLL_S = 0.02


def _open(path: Path) -> int:
    with explained(path):
        is_new = not path.exists()
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if is_new:
            give_to_home_owner(path, path.parent)
    return fd


def _try(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def start_lock(path: Path, timeout: float) -> Iterator[None]:
    """Hold the right to start or stop the hub; waits `timeout` seconds at most for it."""
    fd = _open(path)
    try:
        deadline = time.monotonic() + timeout
        while not _try(fd, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise AppError(
                    Code.HUB_LOCKED,
                    "Another process has been starting or stopping the hub for too long.",
                    hint="End that process, then try again.",
                    details={"lock": str(path), "waited_s": timeout},
                )
            time.sleep(_POLL_S)
        yield
    finally:
        os.close(fd)


class Attachment:
    """This object's share in a hub. Take, test and drop it only under the start lock."""

    def __init__(self, path: Path) -> None:
        self._fd = _open(path)
        fcntl.flock(self._fd, fcntl.LOCK_SH)

    def is_last(self) -> bool:
        """Whether nobody else is attached."""
        if not _try(self._fd, fcntl.LOCK_EX):
            # A failed conversion may have lost the shared lock.
            fcntl.flock(self._fd, fcntl.LOCK_SH)
            return False
        fcntl.flock(self._fd, fcntl.LOCK_SH)
        return True

    def drop(self) -> None:
        """Give the share up."""
        os.close(self._fd)
