"""For a server that runs as root: a private view of folders that an unprivileged user can reach.

A root server must drop its uid before the sandbox is made (a limit on processes does not bind
uid 0, and an escape would be root). But root's Python, and other folders that sandboxes are to
see, often lie where others may not go, such as root's home. So a short-lived process makes a
mount namespace, private to this server, in which the folders are bound read-only at an open
place; the server keeps only its descriptor. Nothing on the host changes, and no process stays.

What launchers have no use for is unmounted there. They read the whole table of mounts for each
folder that they bind, and the kernel copies it for each sandbox.
"""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from app.sandbox.types import IsolationError

UNPRIVILEGED = 65534
_STAGE_ROOTS = ("/mnt", "/media", "/srv", "/opt", "/tmp")
# What bwrap itself works with; it mounts over `/tmp`.
_KEPT = ("/proc", "/dev", "/tmp")

# mount(2), open_tree(2), move_mount(2), setns(2): flags from the kernel's uapi headers
_PROLOGUE = """
import ctypes, os, re, sys
libc = ctypes.CDLL(None, use_errno=True)
def check(answer, what):
    if answer < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), what)
    return answer
def mount(source, target, kind, flags, data=None):
    check(libc.mount(source, target, kind, flags, data), os.fsdecode(target))
def seal(target):
    mount(None, target, None, 0x1000 | 0x20 | 0x1 | 0x2 | 0x4)
"""
_EPILOGUE = """
try:
    stage(*map(os.fsencode, sys.argv[1:]))
    print("ready", flush=True)
except OSError as error:
    print(error, flush=True)
sys.stdin.read()
"""
_CREATE = """
def stage(root, kept, *sources):
    check(libc.unshare(0x20000), "unshare")
    mount(None, b"/", None, 0x44000)
    opened = [os.open(source, os.O_PATH) for source in sources]
    mount(b"tmpfs", root, b"tmpfs", 0x2 | 0x4, b"mode=0755,size=64k")
    for index, fd in enumerate(opened):
        target = root + b"/%d" % index
        os.mkdir(target, 0o755)
        mount(b"/proc/self/fd/%d" % fd, target, None, 0x5000)
        seal(target)
    clear([root, *kept.split(b":")])
def clear(kept):
    kept = [os.path.join(path, b"") for each in kept for path in (each, os.path.realpath(each))]
    with open("/proc/self/mountinfo", "rb") as table:
        found = [unquoted(line.split()[4]) for line in table]
    for point in reversed(found):
        folder = os.path.join(point, b"")
        if not any(path.startswith(folder) or folder.startswith(path) for path in kept):
            libc.umount2(point, 0x2)
def unquoted(name):
    return re.sub(rb"\\\\([0-7]{3})", lambda found: bytes([int(found[1], 8)]), name)
"""
# A copy of the mount is taken here and put down there: what the namespace covers is found too.
_ADD = """
def stage(namespace, source, target):
    tree = check(libc.syscall(428, -100, source, 0x1 | 0x8000 | os.O_CLOEXEC), "open_tree")
    check(libc.setns(os.open(namespace, os.O_RDONLY | os.O_CLOEXEC), 0x20000), "setns")
    os.mkdir(target, 0o755)
    check(libc.syscall(429, tree, b"", -100, target, 0x4), "move_mount")
    seal(target)
"""


class Stage:
    """Holds the namespace; `enter` is the command prefix that joins it without privileges."""

    def __init__(self, sources: Sequence[Path], seen: Sequence[str]) -> None:
        """Bind each of `sources`; of the rest there is what lies at `seen`, and little else.

        Raises IsolationError without the right to mount.
        """
        self._root = next(path for path in _STAGE_ROOTS if Path(path).is_dir())
        self._tool = _nsenter()
        self._fd = _make_namespace(self._root, [*_KEPT, *seen], sources)
        self._places = {source: Path(self._root, str(i)) for i, source in enumerate(sources)}
        self._known = {source: _identity(source) for source in sources}
        self._count = len(sources)

    def has(self, source: Path) -> bool:
        """Whether the folder that is now `source` is bound. Raises OSError where there is none."""
        return self._known.get(source) == _identity(source)

    def add(self, source: Path) -> None:
        """Bind one more. Raises OSError."""
        place = Path(self._root, str(self._count))
        self._count += 1
        namespace = f"/proc/{os.getpid()}/fd/{self._fd}"
        with _helper(_ADD, [namespace, str(source), str(place)]) as (answer, _):
            if answer != "ready":
                raise OSError(f"{source.name} cannot be shown to sandboxes: {answer}")
        self._places[source], self._known[source] = place, _identity(source)

    def find(self, path: Path) -> Path:
        """Where `path`, which lies in one of the sources, is to be found in the namespace."""
        above = [source for source in self._places if path.is_relative_to(source)]
        if not above:
            return path
        source = max(above, key=lambda each: len(each.parts))
        return self._places[source] / path.relative_to(source)

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


def _identity(folder: Path) -> tuple[int, int]:
    found = folder.stat()
    return found.st_dev, found.st_ino


def _nsenter() -> str:
    tool = shutil.which("nsenter", path="/usr/bin:/bin:/usr/sbin:/sbin")
    if tool is None:
        hint = "Install util-linux, or run the server as an ordinary user."
        raise IsolationError("nsenter is missing, which a server run by root needs.", hint)
    return tool


def _make_namespace(root: str, kept: Sequence[str], sources: Sequence[Path]) -> int:
    with _helper(_CREATE, [root, ":".join(kept), *map(str, sources)]) as (answer, pid):
        if answer == "ready":
            return os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    hint = "Run the server as an ordinary user, or use the docker executor inside containers."
    raise IsolationError(f"Root may not make a mount namespace here ({answer}).", hint)


@contextlib.contextmanager
def _helper(program: str, arguments: list[str]) -> Iterator[tuple[str, int]]:
    """Run a program beside this process, which stays until the end of the block: its answer."""
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _PROLOGUE + program + _EPILOGUE, *arguments],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={}, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        yield process.stdout.readline().strip(), process.pid
