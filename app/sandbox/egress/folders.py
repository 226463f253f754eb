"""The folders in which proxies' sockets appear: one for each sandbox, seen inside read-only.

Who reaches a socket is whoever can enter its folder. A server that may give that right to the
sandbox's group gives it to that group alone. Where it may not, since it is not root's or has lost
the capability, a folder's name is its secret: the folder above can be entered, but not listed.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import socket
import tempfile
from pathlib import Path

SOCKET_NAME = "proxy.sock"
_PREFIX = "uaol-egress-"
_INSIDE_GROUP = 65534
_BACKLOG = 64


class Folders:
    """All folders of one server, below one of its own that it holds a lock on."""

    def __init__(self, root: Path | None = None) -> None:
        """`root` is where to make them: if None, `/run` for root, else the temporary folder.

        An engine that mounts them must know it by the same path.
        """
        default = "/run" if os.geteuid() == 0 else tempfile.gettempdir()
        self._root = (root or Path(default)).absolute()
        self._base: Path | None = None
        self._lock = -1

    def new(self) -> Path:
        """An empty folder for one sandbox. Raises OSError."""
        if self._base is None:
            self._root.mkdir(parents=True, exist_ok=True)
            self._sweep()
            self._base = self._make_base()
        path = self._base / secrets.token_hex(16)
        path.mkdir(0o700)
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _let_in(fd, ".", group=0o710, all_others=0o711)
        finally:
            os.close(fd)
        return path

    def drop(self, path: Path) -> None:
        """Remove a folder and what is in it."""
        shutil.rmtree(path, ignore_errors=True)

    def close(self) -> None:
        """Remove everything."""
        if self._base is not None:
            shutil.rmtree(self._base, ignore_errors=True)
            os.close(self._lock)
        self._base, self._lock = None, -1

    def _make_base(self) -> Path:
        while True:
            base = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._root))
            base.chmod(0o711)
            self._lock = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            if base.exists():
                return base
            # Another server swept it away before it was locked.
            os.close(self._lock)

    def _sweep(self) -> None:
        """Remove what servers left that were killed: their locks are free."""
        for base in self._root.glob(f"{_PREFIX}*"):
            try:
                fd = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                if os.fstat(fd).st_uid == os.geteuid():
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(base, ignore_errors=True)
            except BlockingIOError:
                continue
            finally:
                os.close(fd)


class BoundSocket:
    """A listening socket in a folder; it disappears with `remove`."""

    def __init__(self, folder: Path) -> None:
        """Bind it. Raises OSError, also where one is bound already."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._folder = -1
        self._is_bound = False
        try:
            self._folder = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._bind()
        except OSError:
            self.sock.close()
            self.remove()
            raise

    def _bind(self) -> None:
        # By descriptor: a path may be too long for a socket, and /proc/net/unix would tell it.
        self.sock.bind(f"/proc/self/fd/{self._folder}/{SOCKET_NAME}")
        self._is_bound = True
        _let_in(self._folder, SOCKET_NAME, group=0o660, all_others=0o666)
        self.sock.setblocking(False)
        self.sock.listen(_BACKLOG)

    def remove(self) -> None:
        """Take the name away; the socket itself is closed by who serves it."""
        if self._folder < 0:
            return
        if self._is_bound:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(SOCKET_NAME, dir_fd=self._folder)
        os.close(self._folder)
        self._folder = -1


def _let_in(folder: int, name: str, *, group: int, all_others: int) -> None:
    """Set the mode of what is in a folder: the one for the sandbox's group if it can be given."""
    try:
        os.chown(name, -1, _INSIDE_GROUP, dir_fd=folder)
    except OSError:
        os.chmod(name, all_others, dir_fd=folder)
    else:
        os.chmod(name, group, dir_fd=folder)
