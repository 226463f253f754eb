"""Locks over processes by flock(2): a process that dies lets go of them."""

import asyncio
import fcntl
import os
from pathlib import Path

_WAIT_S = 0.05


class FileLock:
    """A lock that is held."""

    def __init__(self, fd: int, path: Path) -> None:
        self._fd = fd
        self._path = path

    def release(self) -> None:
        """Let go; may be called twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def forget(self) -> None:
        """Remove the file of a lock held exclusively, and let go."""
        self._path.unlink(missing_ok=True)
        self.release()


def try_lock(path: Path, *, exclusive: bool) -> FileLock | None:
    """The lock, unless somebody's in the way; the file is made if there is none."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    if not _is_current(fd, path):
        os.close(fd)
        return None
    return FileLock(fd, path)


async def lock(path: Path, *, exclusive: bool) -> FileLock:
    """The lock, once it can be had. flock has no time limit of its own: cut it off outside."""
    while True:
        if (found := try_lock(path, exclusive=exclusive)) is not None:
            return found
        await asyncio.sleep(_WAIT_S)


def _is_current(fd: int, path: Path) -> bool:
    """Whether the file was not removed between its opening and its locking."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return False
    return facts.st_ino == os.fstat(fd).st_ino
