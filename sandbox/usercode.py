"""What the forked process does that becomes user code: takes its limits, runs, leaves.

From the moment `live` is called nothing here is a wall. The process holds no descriptor but its
standard ones and two pipes: what it says on CHANNEL is as untrusted as the code, and over CELLS a
session's process is told that its next cell lies ready. Standard library only; the runner loads
it before it forks.
"""

# pathlib and typing would double the cold start
# ruff: noqa: PTH123
from __future__ import annotations

import os
import resource
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

CHANNEL, CELLS = 3, 4
SAID_BYTES = 1 << 16
PROXY = "http://127.0.0.1:3128"


class User:
    """The process of user code: one task, or the kernel of a session."""

    def __init__(self, room: dict[str, Any], notebook: Any) -> None:
        self.room, self.notebook = room, notebook
        self.space: dict[str, Any] = {}

    def live(self, task: dict[str, Any], filename: str) -> NoReturn:
        """Run the task, and the cells that follow it in a session; leave with its exit code."""
        status = 1
        try:
            self.settle(task)
            self.space = self.notebook.new_namespace(filename)
            status = self.run(task["code"], filename)
            while task["is_session"]:
                flush()
                say(b"c", bytes([status & 0xFF]))
                task["cpu_s"], filename = next_cell()
                limit_cpu(task)
                with open(filename, encoding="utf-8", errors="surrogatepass") as file:
                    code = file.read()
                status = self.run(code, filename)
        finally:
            status = self.finish(status)
            os._exit(status)

    def settle(self, task: dict[str, Any]) -> None:
        """Make the process what user code expects to be in."""
        limit(task, self.room)
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        sys.path[:] = ["/task", *sys.path, *self.room["layers"]]
        sys.prefix = sys.exec_prefix = self.room["prefix"]
        sys.argv = ["/task/task.py"]
        if task["egress"]:
            for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
                os.environ[name] = PROXY

    def run(self, code: str, filename: str) -> int:
        """Run one source; its exit code, with the traceback of user frames on stderr."""
        try:
            self.notebook.execute(code, self.space, filename, emit)
        except SystemExit as leaving:
            return exit_code(leaving.code)
        except BaseException as error:  # noqa: BLE001 - whatever user code raises
            if isinstance(error, MemoryError):
                say(b"m", b"")
            self.notebook.show_error(error)
            return 1
        return 0

    def finish(self, status: int) -> int:
        """What the interpreter does at its end, short of tearing down modules."""
        import atexit

        try:
            if threading := sys.modules.get("threading"):
                threading._shutdown()  # noqa: SLF001 - as the interpreter itself does
            atexit._run_exitfuncs()  # noqa: SLF001
            flush()
        except BaseException as error:  # noqa: BLE001 - whatever user code raises
            self.notebook.show_error(error)
            return status or 1
        return status


def limit(task: dict[str, Any], room: dict[str, Any]) -> None:
    """Set the limits on user code; the runner needs none for itself."""
    limits = [
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, task["tmp_bytes"]),
        (resource.RLIMIT_NOFILE, 1024),
        (resource.RLIMIT_AS, task["memory_bytes"]),
    ]
    # where a cgroup counts, all containers share the uid, whose processes this would count
    if not room.get("counts_processes"):
        # init, the runner and the relay count too
        limits.append((resource.RLIMIT_NPROC, task["processes"] + 2 + room["relay"]))
    for kind, most in limits:
        resource.setrlimit(kind, (most, most))
    limit_cpu(task)
    try:
        # if memory runs out for all of us, this process goes before the runner does
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
            file.write("500")
    except OSError:
        pass


def limit_cpu(task: dict[str, Any]) -> None:
    """Seconds of this process from now on; a session's next cell may raise them again."""
    times = os.times()
    # whole seconds: rather a little more than less
    soft = int(times.user + times.system + 0.9) + task["cpu_s"]
    hard = resource.RLIM_INFINITY if task["is_session"] else soft + 1
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def exit_code(value: object) -> int:
    """What `sys.exit(value)` means to the shell."""
    if value is None:
        return 0
    if isinstance(value, int):
        return value & 0xFF
    sys.stderr.write(f"{value}\n")
    return 1


def flush() -> None:
    """Let go of what was printed, wherever user code has put it."""
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            if stream is not None:
                stream.flush()
        except Exception:  # noqa: BLE001 - closed, or replaced by anything
            continue


def say(kind: bytes, data: bytes) -> None:
    """A frame to the runner; without it there is nobody to say anything to."""
    view = memoryview(kind + len(data).to_bytes(4, "big") + data)
    try:
        while view:
            view = view[os.write(CHANNEL, view) :]
    except OSError:
        pass


def emit(kind: str, text: str) -> None:
    """What `notebook.execute` shows: `v` the value's text, `p` the name of a picture."""
    data = text.encode("utf-8", "backslashreplace")[:SAID_BYTES]
    say(kind.encode("ascii"), data)


def next_cell() -> tuple[int, str]:
    """Wait for the next cell: its seconds of CPU and its file. The runner's end ends us too."""
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(CELLS, 1)
        if not part:
            os._exit(0)
        line += part
    seconds, _, name = line.decode("ascii").strip().partition(" ")
    return int(seconds), name
