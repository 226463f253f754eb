"""A control group for each sandbox: what all its processes use together, limited and counted.

Needs root, or a part of the tree that was delegated; version 1 and version 2 differ in where the
files are and what they are called, and in nothing else here. The server's own group stays as it
is: sandboxes get one beside or below it, so that what limits the server limits them too.

Source: the kernel's Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst.
"""

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from app.sandbox.links import Room

CONTROLLERS = ("memory", "pids", "cpu")
_PREFIX = "uaol-"
_PERIOD_US = 100_000
SHM_BYTES = 16 * 2**20
# the launcher, the runner and what it imports, the relay
_OWN_BYTES, _OWN_PROCESSES = 96 * 2**20, 4
_numbers = itertools.count()


@dataclass(frozen=True)
class Counted:
    """What a group counted; 0 where its kernel does not say."""

    is_oom: bool = False
    cpu_s: float = 0.0
    peak_memory_bytes: int = 0


class Groups:
    """The place for groups: a folder for each controller, in version 2 always the same one."""

    def __init__(self, bases: Mapping[str, Path], *, is_unified: bool) -> None:
        """`bases` are existing folders in which groups may be made, by controller."""
        self.controllers = tuple(name for name in CONTROLLERS if name in bases)
        self.is_unified = is_unified
        self._bases = dict(bases)
        self._name = f"{_PREFIX}{os.getpid()}"

    @property
    def folders(self) -> list[Path]:
        """Where the groups of this server are, one folder for each of its sandboxes."""
        return [base / self._name for base in dict.fromkeys(self._bases.values())]

    def new(self, room: Room) -> "Group":
        """Make a group with the room's limits. Raises OSError."""
        name = f"{self._name}/{next(_numbers)}"
        folders = {each: base / name for each, base in self._bases.items()}
        made: list[Path] = []
        try:
            for folder in dict.fromkeys(folders.values()):
                self._make_parent(folder.parent)
                folder.mkdir()
                made.append(folder)
            group = Group(folders)
            for controller, file, value in self._settings(room):
                (folders[controller] / file).write_text(value, encoding="ascii")
        except OSError:
            for folder in made:
                folder.rmdir()
            raise
        return group

    @contextlib.contextmanager
    def within(self, group: "Group") -> Iterator[None]:
        """What the calling thread starts meanwhile is born in the group; version 1 only.

        A thread that moves itself waits for nobody, while to move a process stops all of the
        machine from starting or ending any, for some milliseconds. Raises OSError.
        """
        try:
            for folder in group.folders:
                (folder / "tasks").write_text("0", encoding="ascii")
            yield
        finally:
            for base in self._bases.values():
                (base / "tasks").write_text("0", encoding="ascii")

    def sweep(self) -> None:
        """Remove what servers that are no more have left empty."""
        for base in dict.fromkeys(self._bases.values()):
            for left in base.glob(f"{_PREFIX}[0-9]*"):
                if not Path("/proc", left.name.removeprefix(_PREFIX)).exists():
                    # another server that starts may sweep it away meanwhile
                    with contextlib.suppress(OSError):
                        _remove([*(path for path in left.iterdir() if path.is_dir()), left])

    def close(self) -> None:
        """Remove the place of this server's groups, if none is left."""
        _remove(self.folders)

    def _make_parent(self, folder: Path) -> None:
        """The group of all sandboxes; all of them weigh as much as a process for each core."""
        with contextlib.suppress(FileExistsError):
            folder.mkdir()
            cores = os.cpu_count() or 1
            if self.is_unified:
                wanted = " ".join(f"+{name}" for name in self.controllers)
                (folder / "cgroup.subtree_control").write_text(wanted, encoding="ascii")
            if "cpu" in self._bases and folder.parent == self._bases["cpu"]:
                weight = ("cpu.weight", min(100 * cores, 10_000))
                file, value = weight if self.is_unified else ("cpu.shares", 1024 * cores)
                (folder / file).write_text(str(value), encoding="ascii")

    def _settings(self, room: Room) -> Iterator[tuple[str, str, str]]:
        for controller, file, value in _settings(room, is_unified=self.is_unified):
            # without swap there is no file to limit it
            base = self._bases.get(controller)
            if base and ("sw" not in file or (base / self._name / file).exists()):
                yield controller, file, value


class Group:
    """One sandbox's group."""

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self._folders = dict(folders)

    @property
    def folders(self) -> list[Path]:
        """Its folders, one for each hierarchy."""
        return list(dict.fromkeys(self._folders.values()))

    def add(self, pid: int) -> None:
        """Move a process and those it has started; what they start later is born inside.

        Raises OSError.
        """
        waiting = [pid]
        while waiting:
            current = waiting.pop()
            for folder in self.folders:
                (folder / "cgroup.procs").write_text(str(current), encoding="ascii")
            children = Path(f"/proc/{current}/task/{current}/children").read_text(encoding="ascii")
            waiting += map(int, children.split())

    def unleash(self) -> None:
        """Lift the limit on CPU, as to leave takes some too."""
        if cpu := self._folders.get("cpu"):
            for file, value in (("cpu.max", "max"), ("cpu.cfs_quota_us", "-1")):
                if (cpu / file).exists():
                    (cpu / file).write_text(value, encoding="ascii")

    def counted(self) -> Counted:
        """What it has counted so far."""
        memory, cpu = self._folders.get("memory"), self._folders.get("cpu")
        kills = peak = 0
        seconds = 0.0
        if memory:
            files = ("memory.events", "memory.oom_control")
            kills = max(_keyed(memory / file, "oom_kill") for file in files)
            peaks = ("memory.peak", "memory.max_usage_in_bytes")
            peak = max(_number(memory / file) for file in peaks)
        if cpu:
            unified, legacy = _keyed(cpu / "cpu.stat", "usage_usec"), _number(cpu / "cpuacct.usage")
            seconds = max(unified / 1e6, legacy / 1e9)
        return Counted(kills > 0, seconds, peak)

    def remove(self) -> None:
        """Remove it; its processes must be gone."""
        _remove(self.folders)


def _settings(room: Room, *, is_unified: bool) -> Iterator[tuple[str, str, str]]:
    """Controller, file and value of each limit.

    Files of the sandbox lie in memory, so their room is added to that of the processes. CPU is
    half of the machine's, or one core where that is more: the server needs some itself.
    """
    limits = room.limits
    files = room.work_bytes + limits.tmp_bytes + SHM_BYTES
    memory = str(limits.memory_bytes + files + _OWN_BYTES)
    quota = max(_PERIOD_US, (os.cpu_count() or 1) * _PERIOD_US // 2)
    yield "pids", "pids.max", str(limits.processes + _OWN_PROCESSES)
    if is_unified:
        yield "memory", "memory.max", memory
        yield "memory", "memory.swap.max", "0"
        yield "cpu", "cpu.max", f"{quota} {_PERIOD_US}"
    else:
        yield "memory", "memory.limit_in_bytes", memory
        yield "memory", "memory.memsw.limit_in_bytes", memory
        yield "cpu", "cpu.cfs_period_us", str(_PERIOD_US)
        yield "cpu", "cpu.cfs_quota_us", str(quota)


def find_groups(proc: Path = Path("/proc/self")) -> Groups | None:
    """Where this process may make groups that limit memory, or None."""
    try:
        own = list(_own_groups((proc / "cgroup").read_text(encoding="utf-8")))
        mounts = list(_mounts((proc / "mountinfo").read_text(encoding="utf-8")))
    except OSError:
        return None
    groups = _unified(own, mounts) or _legacy(own, mounts)
    if groups is not None:
        groups.sweep()
    return groups


def group_of(pid: int, proc: Path = Path("/proc")) -> Group:
    """The group that a process was put into by others, to be read. Raises OSError."""
    own = list(_own_groups((proc / str(pid) / "cgroup").read_text(encoding="utf-8")))
    mounts = list(_mounts((proc / "self" / "mountinfo").read_text(encoding="utf-8")))
    folders: dict[str, Path] = {}
    # version 2 may be there without any controller, beside version 1, which then counts
    for controllers, path in sorted(own, key=lambda each: bool(each[0])):
        for mount in mounts:
            is_unified = mount.kind == "cgroup2"
            names = set(CONTROLLERS) & (set(CONTROLLERS) if is_unified else controllers)
            is_its = is_unified != bool(controllers) and (is_unified or names & mount.options)
            if is_its and (folder := mount.folder(path)):
                folders.update(dict.fromkeys(names, folder))
    return Group(folders)


@dataclass(frozen=True)
class _Mount:
    """A mounted hierarchy: its controllers, where it is, and which of its groups is on top."""

    kind: str
    options: frozenset[str]
    point: Path
    root: str

    def folder(self, group: str) -> Path | None:
        """The folder of a group, if the mount shows it."""
        top = self.root.rstrip("/")
        if group != top and not group.startswith(f"{top}/"):
            return None
        return self.point / group[len(top) :].lstrip("/")


def _own_groups(text: str) -> Iterator[tuple[frozenset[str], str]]:
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        yield frozenset(controllers.split(",")) - {""}, path


def _mounts(text: str) -> Iterator[_Mount]:
    """See proc(5): ID, parent, device, root, mount point, options, ... - type, source, options."""
    for line in text.splitlines():
        head, _, tail = line.partition(" - ")
        kind, _, options = tail.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            _, _, _, root, point, *_ = head.split(" ")
            yield _Mount(kind, frozenset(options.split(",")), Path(point), root)


def _unified(own: list[tuple[frozenset[str], str]], mounts: list[_Mount]) -> Groups | None:
    """The nearest group at or above ours that may have children and passes memory on to them."""
    group = next((path for controllers, path in own if not controllers), None)
    mount = next((each for each in mounts if each.kind == "cgroup2"), None)
    start = mount.folder(group) if mount and group else None
    if mount is None or start is None:
        return None
    _ask_for_all(start)
    for folder in [start, *start.parents]:
        if not folder.is_relative_to(mount.point):
            break
        passed = _passed_on(folder)
        if "memory" in passed and os.access(folder, os.W_OK):
            return Groups(dict.fromkeys(passed, folder), is_unified=True)
    return None


def _ask_for_all(folder: Path) -> None:
    """Have our own group pass its controllers on; refused where processes live in it."""
    with contextlib.suppress(OSError):
        there = (folder / "cgroup.controllers").read_text(encoding="ascii").split()
        wanted = " ".join(f"+{name}" for name in CONTROLLERS if name in there)
        (folder / "cgroup.subtree_control").write_text(wanted, encoding="ascii")


def _passed_on(folder: Path) -> list[str]:
    """The controllers that the children of `folder` have."""
    with contextlib.suppress(OSError):
        passed = (folder / "cgroup.subtree_control").read_text(encoding="ascii").split()
        return [name for name in CONTROLLERS if name in passed]
    return []


def _legacy(own: list[tuple[frozenset[str], str]], mounts: list[_Mount]) -> Groups | None:
    bases: dict[str, Path] = {}
    for controllers, path in own:
        for name in controllers & set(CONTROLLERS):
            mount = next((m for m in mounts if m.kind == "cgroup" and name in m.options), None)
            folder = mount.folder(path) if mount else None
            if (
                folder
                and os.access(folder / "cgroup.procs", os.W_OK)
                and os.access(folder, os.W_OK)
            ):
                bases[name] = folder
    return Groups(bases, is_unified=False) if "memory" in bases else None


def _remove(folders: Iterable[Path]) -> None:
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()


def _keyed(file: Path, key: str) -> int:
    with contextlib.suppress(OSError, ValueError):
        for line in file.read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(" ")
            if name == key:
                return int(value)
    return 0


def _number(file: Path) -> int:
    with contextlib.suppress(OSError, ValueError):
        return int(file.read_text(encoding="ascii"))
    return 0
