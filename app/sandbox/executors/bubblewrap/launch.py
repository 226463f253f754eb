"""How bubblewrap is told to build the room: its options, in the order they apply."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.sandbox.executors.bubblewrap.pipes import Pipes
from app.sandbox.executors.bubblewrap.staging import UNPRIVILEGED, Stage
from app.sandbox.executors.python import VENV, BoundPython, Mount
from app.sandbox.executors.tools import RUNNER
from app.sandbox.links import Room

EGRESS = "/run/egress"
_SYSTEM_FOLDERS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_SHM_BYTES = 16 * 2**20
_ETC = {
    "/etc/passwd": b"nobody:x:65534:65534:nobody:/task:/usr/sbin/nologin\n",
    "/etc/group": b"nogroup:x:65534:\n",
    "/etc/hosts": b"127.0.0.1 localhost\n::1 localhost\n",
}
_WALLS = (
    "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent", "--new-session",
    "--cap-drop", "ALL", "--uid", str(UNPRIVILEGED), "--gid", str(UNPRIVILEGED),
    "--hostname", "sandbox", "--perms", "0755", "--dir", "/etc",
)  # fmt: skip


@dataclass(frozen=True)
class Launcher:
    """What every launch shares: the command that starts bwrap, and what it is given.

    `tools` are the programs inside, by path; `filter` is the system-call filter's bytes.
    """

    command: Sequence[str]
    python: BoundPython
    mounts: Sequence[Mount]
    tools: dict[str, bytes]
    filter: bytes
    stage: Stage | None
    image: str

    def command_line(self, pipes: Pipes, room: Room, wire: int, teller: int) -> list[str]:
        """The whole command. The runner speaks over `wire`, bwrap tells its child on `teller`.

        The wire is none of the standard descriptors, which the sandbox's init would hold too.
        """
        options = [
            *_WALLS, "--info-fd", str(teller), *self._root(pipes), *self._given(room),
            *_writable(room), *self._rest(pipes),
        ]  # fmt: skip
        given = pipes.give(b"".join(os.fsencode(option) + b"\0" for option in options))
        runner = [self.python.interpreter, "-s", "-S", "-P", "-B", RUNNER, str(wire), str(wire)]
        return [*self.command, "--args", str(given), "--", *runner]

    def _root(self, pipes: Pipes) -> Iterator[str]:
        yield from _system()
        for mount in self.mounts:
            yield from ("--ro-bind", str(mount.source), mount.target)
        config = {f"{VENV}/pyvenv.cfg": self.python.venv_config.encode()}
        yield from ("--symlink", self.python.base_interpreter, f"{VENV}/bin/python")
        for target, data in {**_ETC, **config, **self.tools}.items():
            # a file of the root, which is sealed at the end: no mount for each
            yield from ("--perms", "0444", "--file", str(pipes.give(data)), target)

    def _given(self, room: Room) -> Iterator[str]:
        """What this room has beyond the others."""
        given = [(mount.source, mount.target) for mount in room.mounts]
        if room.egress is not None:
            given.append((room.egress, EGRESS))
        for source, target in given:
            place = self.stage.find(source) if self.stage else source
            yield from ("--ro-bind", str(place), target)

    def _rest(self, pipes: Pipes) -> Iterator[str]:
        yield from ("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/task/output")
        yield from _environment(self.python)
        yield from ("--seccomp", str(pipes.give(self.filter)))


def _writable(room: Room) -> Iterator[str]:
    yield from ("--proc", "/proc", "--dev", "/dev")
    for target, size in (
        ("/dev/shm", _SHM_BYTES),
        ("/tmp", room.limits.tmp_bytes),
        ("/task", room.work_bytes),
    ):
        yield from ("--perms", "0755", "--size", str(size), "--tmpfs", target)
    yield from ("--dir", "/task/input", "--dir", "/task/output")


def _system() -> Iterator[str]:
    yield from ("--ro-bind", "/usr", "/usr")
    for folder in _SYSTEM_FOLDERS:
        if Path(folder).is_symlink():
            yield from ("--symlink", str(Path(folder).readlink()), folder)
        elif Path(folder).is_dir():
            yield from ("--ro-bind", folder, folder)
    # libblas and others are reached through /etc/alternatives on Debian; fc-list wants /etc/fonts
    for path in ("/etc/ld.so.cache", "/etc/alternatives", "/etc/fonts"):
        yield from ("--ro-bind-try", path, path)


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
