"""How bubblewrap is told to build the room: its options for one task, in the order they apply."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.sandbox.executors.pipes import Pipes
from app.sandbox.executors.python import VENV, BoundPython, Mount
from app.sandbox.executors.runner import RUNNER_NAME
from app.sandbox.executors.staging import UNPRIVILEGED, Stage
from app.sandbox.types import Limits

_SYSTEM_FOLDERS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_SHM_BYTES = 16 * 2**20
_ETC = {
    "passwd": b"nobody:x:65534:65534:nobody:/task:/usr/sbin/nologin\n",
    "group": b"nogroup:x:65534:\n",
    "hosts": b"127.0.0.1 localhost\n::1 localhost\n",
}
_WALLS = (
    "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session",
    "--cap-drop", "ALL", "--uid", str(UNPRIVILEGED), "--gid", str(UNPRIVILEGED),
    "--hostname", "sandbox", "--perms", "0755", "--dir", "/etc",
)  # fmt: skip


@dataclass(frozen=True)
class Launcher:
    """What every task's launch shares: the command that starts bwrap, and what it is given."""

    command: list[str]
    python: BoundPython
    mounts: Sequence[Mount]
    runner: bytes
    filter: bytes
    stage: Stage | None

    def command_line(self, pipes: Pipes, options: list[str], ends: tuple[int, int]) -> list[str]:
        """The whole command; `ends` are the runner's descriptors for task and report."""
        given = pipes.give(b"".join(os.fsencode(option) + b"\0" for option in options))
        runner = [self.python.interpreter, "-s", "-S", "-P", "-B", RUNNER_NAME]
        return [*self.command, "--args", str(given), "--", *runner, *map(str, ends)]

    def options(self, pipes: Pipes, limits: Limits, work_bytes: int) -> list[str]:
        """Bubblewrap's options for one task; `work_bytes` is the room in `/task`."""
        return [*_WALLS, *self._root(pipes), *_writable(limits, work_bytes), *self._rest(pipes)]

    def _root(self, pipes: Pipes) -> Iterator[str]:
        yield from _system()
        yield from _files(pipes, {f"/etc/{name}": data for name, data in _ETC.items()})
        for mount in self.mounts:
            yield from _bind(str(mount.source), mount.target)
        yield from _files(pipes, {f"{VENV}/pyvenv.cfg": self.python.venv_config.encode()})
        yield from ("--symlink", self.python.base_interpreter, f"{VENV}/bin/python")
        yield from _files(pipes, {RUNNER_NAME: self.runner})

    def _rest(self, pipes: Pipes) -> Iterator[str]:
        yield from ("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/task/output")
        yield from _environment(self.python)
        yield from ("--seccomp", str(pipes.give(self.filter)))


def _writable(limits: Limits, work_bytes: int) -> Iterator[str]:
    yield from ("--proc", "/proc", "--dev", "/dev")
    for target, size in (
        ("/dev/shm", _SHM_BYTES),
        ("/tmp", limits.tmp_bytes),
        ("/task", work_bytes),
    ):
        yield from ("--perms", "0755", "--size", str(size), "--tmpfs", target)
    yield from ("--dir", "/task/input", "--dir", "/task/output")


def _system() -> Iterator[str]:
    yield from _bind("/usr", "/usr")
    for folder in _SYSTEM_FOLDERS:
        if Path(folder).is_symlink():
            yield from ("--symlink", str(Path(folder).readlink()), folder)
        elif Path(folder).is_dir():
            yield from _bind(folder, folder)
    # libblas and others are reached through /etc/alternatives on Debian
    for path in ("/etc/ld.so.cache", "/etc/alternatives"):
        yield from ("--ro-bind-try", path, path)


def _bind(source: str, target: str) -> tuple[str, str, str]:
    return "--ro-bind", source, target


def _files(pipes: Pipes, files: dict[str, bytes]) -> Iterator[str]:
    for target, data in files.items():
        yield from ("--perms", "0444", "--ro-bind-data", str(pipes.give(data)), target)


def _environment(python: BoundPython) -> Iterator[str]:
    variables = {
        "PATH": f"{VENV}/bin:/usr/bin:/bin", "HOME": "/task", "TMPDIR": "/tmp",
        "LANG": "C.UTF-8", "TZ": "UTC", "USER": "nobody", "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": "/tmp/matplotlib", "PYTHONDONTWRITEBYTECODE": "1",
        # Same input, same output: order of sets, and sums that do not depend on cores.
        "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
        "UAOL_SANDBOX": "bubblewrap", "UAOL_INPUT": "/task/input", "UAOL_OUTPUT": "/task/output",
    }  # fmt: skip
    if python.library_dir:
        variables["LD_LIBRARY_PATH"] = python.library_dir
    for name, value in variables.items():
        yield from ("--setenv", name, value)
