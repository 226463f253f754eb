"""For a server that runs as root: a private view of Python that an unprivileged user can reach.

A root server must drop its uid before the sandbox is made (a limit on processes does not bind
uid 0, and an escape would be root). But root's Python often lives under a folder closed to
others, such as root's home. So a short-lived process makes a mount namespace, private to
this server, in which the few folders needed are bound read-only at an open place; the server
keeps only its descriptor. Nothing on the host changes, and no process stays behind.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from app.sandbox.executors.python import Mount
from app.sandbox.types import IsolationError

UNPRIVILEGED = 65534
_STAGE_ROOTS = ("/mnt", "/media", "/srv", "/opt", "/tmp")

_PROGRAM = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def mount(source, target, kind, flags, data=None):
    if libc.mount(source, target, kind, flags, data):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), os.fsdecode(target))
def stage(root, sources):
    if libc.unshare(0x20000):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), "unshare")
    mount(None, b"/", None, 0x44000)
    opened = [os.open(source, os.O_PATH) for source in sources]
    mount(b"tmpfs", root, b"tmpfs", 0x2 | 0x4, b"mode=0755,size=64k")
    for index, fd in enumerate(opened):
        target = root + b"/%d" % index
        os.mkdir(target, 0o755)
        mount(b"/proc/self/fd/%d" % fd, target, None, 0x5000)
        mount(None, target, None, 0x1000 | 0x20 | 0x1 | 0x2 | 0x4)
try:
    stage(os.fsencode(sys.argv[1]), sys.argv[2:])
    print("ready", flush=True)
except OSError as error:
    print(error, flush=True)
sys.stdin.read()
"""


class Stage:
    """Holds the namespace; `enter` is the command prefix that joins it without privileges."""

    def __init__(self, sources: Sequence[Path]) -> None:
        """Bind each of `sources`. Raises IsolationError without the right to mount."""
        self._root = next(path for path in _STAGE_ROOTS if Path(path).is_dir())
        self._tool = _nsenter()
        self._fd = _make_namespace(self._root, [str(source) for source in sources])
        self._places = {source: Path(self._root, str(i)) for i, source in enumerate(sources)}

    def find(self, path: Path) -> Path:
        """Where `path`, which lies in one of the sources, is to be found in the namespace."""
        for source, place in self._places.items():
            if path.is_relative_to(source):
                return place / path.relative_to(source)
        return path

    def moved(self, mounts: Sequence[Mount]) -> list[Mount]:
        """The same mounts with their sources as seen in the namespace."""
        return [Mount(self.find(mount.source), mount.target) for mount in mounts]

    def enter(self) -> list[str]:
        """`nsenter` arguments: join, drop to nobody with no groups, then exec what follows.

        The namespace is named by this process's descriptor so that no task inherits it.
        """
        uid = str(UNPRIVILEGED)
        place = f"--mount=/proc/{os.getpid()}/fd/{self._fd}"
        return [self._tool, place, "--setuid", uid, "--setgid", uid, "--"]

    def close(self) -> None:
        """Let the namespace go."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


def _nsenter() -> str:
    tool = shutil.which("nsenter", path="/usr/bin:/bin:/usr/sbin:/sbin")
    if tool is None:
        hint = "Install util-linux, or run the server as an ordinary user."
        raise IsolationError("nsenter is missing, which a server run by root needs.", hint)
    return tool


def _make_namespace(root: str, sources: list[str]) -> int:
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _PROGRAM, root, *sources],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={}, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        answer = process.stdout.readline().strip()
        if answer == "ready":
            return os.open(f"/proc/{process.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    hint = "Run the server as an ordinary user, or use the docker executor inside containers."
    raise IsolationError(f"Root may not make a mount namespace here ({answer}).", hint)
