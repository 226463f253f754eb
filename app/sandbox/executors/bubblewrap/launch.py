"""How bubblewrap is told to build the room: its options, in the order they apply."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.sandbox.executors.bubblewrap.pipes import Pipes
from app.sandbox.executors.bubblewrap.staging import UNPRIVILEGED, Stage
from app.sandbox.executors.bubblewrap.system import System
from app.sandbox.executors.cgroups import SHM_BYTES
from app.sandbox.executors.environment import task_environment
from app.sandbox.links import Room

EGRESS = "/run/egress"
_ETC = {
    "/etc/passwd": b"nobody:x:65534:65534:nobody:/task:/usr/sbin/nologin\n",
    "/etc/group": b"nogroup:x:65534:\n",
    "/etc/hosts": b"127.0.0.1 localhost\n::1 localhost\n",
}
# The runner is the first process: one of bwrap's own would be within the reach of user code,
# which has the same uid, and is under no limit.
_WALLS = (
    "--as-pid-1", "--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent",
    "--new-session", "--cap-drop", "ALL", "--uid", str(UNPRIVILEGED), "--gid", str(UNPRIVILEGED),
    "--hostname", "sandbox", "--perms", "0755", "--dir", "/etc",
)  # fmt: skip


@dataclass(frozen=True)
class Launcher:
    """What every launch shares: the command that starts bwrap, and what it is given.

    `base` are the options of its root; `tools` the programs inside, by path, the runner first;
    `filter` is the system-call filter's bytes; `image` and `stamp` are of the packages as read.
    """

    command: Sequence[str]
    system: System
    base: Sequence[str]
    version: str
    tools: dict[str, bytes]
    filter: bytes
    stage: Stage | None
    image: str
    stamp: tuple[int, ...]

    def command_line(self, pipes: Pipes, room: Room, wire: int, teller: int) -> list[str]:
        """The whole command. The runner speaks over `wire`, bwrap tells its child on `teller`.

        The wire is none of the standard descriptors, which the sandbox's init would hold too.
        """
        options = [
            *_WALLS, "--info-fd", str(teller), *self._root(pipes), *self._given(room),
            *_writable(room), *self._rest(pipes),
        ]  # fmt: skip
        given = pipes.give(os.fsencode("\0".join([*options, ""])))
        runner = [self.system.python.interpreter, "-s", "-S", "-P", "-B", next(iter(self.tools))]
        return [*self.command, "--args", str(given), "--", *runner, str(wire), str(wire)]

    def find(self, path: Path) -> Path:
        """Where the launcher sees a folder of the host."""
        return self.stage.find(path) if self.stage else path

    def _root(self, pipes: Pipes) -> Iterator[str]:
        yield from self.base
        for target, data in {**_ETC, **self.system.files(), **self.tools}.items():
            # a file of the root, which is sealed at the end: no mount for each
            yield from ("--perms", "0444", "--file", str(pipes.give(data)), target)

    def _given(self, room: Room) -> Iterator[str]:
        """What this room has beyond the others."""
        given = [(mount.source, mount.target) for mount in room.mounts]
        if room.egress is not None:
            given.append((room.egress, EGRESS))
        for source, target in given:
            yield from ("--ro-bind", str(self.find(source)), target)

    def _rest(self, pipes: Pipes) -> Iterator[str]:
        yield from ("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/task/output")
        yield from _environment(self.system)
        yield from ("--seccomp", str(pipes.give(self.filter)))


def _writable(room: Room) -> Iterator[str]:
    yield from ("--proc", "/proc", "--dev", "/dev")
    for target, size in (
        ("/dev/shm", SHM_BYTES),
        ("/tmp", room.limits.tmp_bytes),
        ("/task", room.work_bytes),
    ):
        yield from ("--perms", "0755", "--size", str(size), "--tmpfs", target)
    yield from ("--dir", "/task/input", "--dir", "/task/output")


def _environment(system: System) -> Iterator[str]:
    variables = task_environment("bubblewrap", system.prefix)
    if system.python.library_dir:
        variables["LD_LIBRARY_PATH"] = system.python.library_dir
    for name, value in variables.items():
        yield from ("--setenv", name, value)
