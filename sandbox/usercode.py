"""What the forked process does that becomes user code: gets ready, takes its limits, runs, leaves.

It holds no descriptor but its standard ones and two pipes: what it says on CHANNEL is as untrusted
as the code, and over CELLS it is given its task, or the cells of a session. Modules are imported
before there is a task, and used a little, so that what is made at a first use is made already; only
from the sandbox's own folders, as a layer is the task's choice. Standard library only; the runner
loads it before it forks.
"""

# pathlib and typing would double the cold start
# ruff: noqa: PTH123
from __future__ import annotations

import marshal
import os
import resource
import select
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

CHANNEL, CELLS, OUT, ERR = 3, 4, 5, 6
PATIENCE_MS = 30
SAID_BYTES = 1 << 16
PROXY = "http://127.0.0.1:3128"
FIRST_USES = {
    "numpy": "numpy.arange(6.0).reshape(2, 3).sum(axis=0).tolist()",
    "pandas": """
frame = pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]})
repr(frame), str(frame.groupby("b").a.sum()), frame.describe(), frame[frame.a > 1].to_csv()
""",
    "matplotlib.pyplot": """
import io
figure, axes = matplotlib.pyplot.subplots()
axes.plot([1, 2], label="a")
axes.legend()
figure.savefig(io.BytesIO(), format="png")
matplotlib.pyplot.close(figure)
""",
    "Bio.Seq": "str(Bio.Seq.Seq('ACGT').reverse_complement())",
}

channel = -1


class User:
    """The process of user code: one task, or the kernel of a session."""

    def __init__(self, room: dict[str, Any], notebook: Any) -> None:
        self.room, self.notebook = room, notebook
        self.space: dict[str, Any] = {}

    def live(self) -> NoReturn:
        """Run the task, or cell after cell of a session; leave with its exit code."""
        status = 1
        task: dict[str, Any] = {"is_session": False}
        try:
            self.get_ready()
            task = self.settle(next_task(self.use))
            while True:
                status = self.run(task["code"])
                if not task["is_session"]:
                    break
                flush()
                say(b"c", bytes([status & 0xFF]))
                task = next_task()
                limit_cpu(task)
        except BaseException as error:  # noqa: BLE001 - there is nobody above to see it
            self.notebook.show_error(error)
        finally:
            status = self.finish(status)
            if not task["is_session"]:
                say(b"c", bytes([status & 0xFF]))
                linger()
            os._exit(status)

    def get_ready(self) -> None:
        """Import what tasks will want. Whatever it says goes nowhere."""
        if not self.room["imports"]:
            return
        import gc

        for name in self.room["imports"]:
            root = name.partition(".")[0]
            try:
                exec(FIRST_USES.get(name, ""), {root: __import__(name)})
            except BaseException as error:  # noqa: BLE001 - it is only missed
                sys.stderr.write(f"runner: {name} was not imported: {error!r}\n")
        self.notebook.watch.start()
        # what is here now is here to stay: nobody needs to look through it for garbage
        gc.freeze()
        self.use()
        os.write(CHANNEL, b"r")

    def use(self) -> None:
        """Go once the way that the task will go."""
        space = self.notebook.new_namespace("<string>")
        self.notebook.execute("0\n'0'", space, "<string>", lambda _kind, _text: None)
        self.notebook.sources.clear()

    def settle(self, task: dict[str, Any]) -> dict[str, Any]:
        """Make the process what user code expects to be in."""
        global channel
        channel = os.fstat(CHANNEL).st_ino
        flush()
        os.dup2(OUT, 1)
        os.dup2(ERR, 2)
        os.close(OUT)
        os.close(ERR)
        limit(task, self.room)
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        sys.path[:] = ["/task", *sys.path, *self.room["layers"]]
        if self.room["layers"]:
            # for the Pythons that user code starts
            os.environ["PYTHONPATH"] = ":".join(self.room["layers"])
        sys.prefix = sys.exec_prefix = self.room["prefix"]
        sys.argv = ["/task/task.py"]
        if task["egress"]:
            for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
                os.environ[name] = PROXY
            # what runs inside is reached inside
            os.environ["NO_PROXY"] = os.environ["no_proxy"] = "localhost,127.0.0.1,::1"
        self.space = self.notebook.new_namespace(task["code"])
        say(b"s", f"{time.process_time():.6f}".encode())
        return task

    def run(self, filename: str) -> int:
        """Run one source; its exit code, with the traceback of user frames on stderr."""
        try:
            with open(filename, encoding="utf-8", errors="surrogatepass") as file:
                code = file.read()
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
        # the runner and the relay count too
        limits.append((resource.RLIMIT_NPROC, task["processes"] + 1 + room["relay"]))
    for kind, most in limits:
        resource.setrlimit(kind, (most, most))
    limit_cpu(task)
    try:
        # if memory runs out for all of us, this process goes before the runner does
        score = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
        os.write(score, b"500")
        os.close(score)
    except OSError:
        pass


def limit_cpu(task: dict[str, Any]) -> None:
    """Seconds of this process from now on; a session's next cell may raise them again."""
    # whole seconds: rather a little more than less
    soft = int(time.process_time() + 0.9) + task["cpu_s"]
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
    """A frame to the runner, unless user code has put something else in the channel's place."""
    view = memoryview(kind + len(data).to_bytes(4, "big") + data)
    try:
        while view and os.fstat(CHANNEL).st_ino == channel:
            view = view[os.write(CHANNEL, view) :]
    except OSError:
        pass


def linger() -> None:
    """Stay a moment: the runner looks at what was used, and stops us. Unheard, we leave."""
    poll = select.poll()
    poll.register(CELLS, 0)
    poll.poll(PATIENCE_MS * 10)


def emit(kind: str, text: str) -> None:
    """What `notebook.execute` shows: `v` the value's text, `p` the name of a picture."""
    data = text.encode("utf-8", "backslashreplace")[:SAID_BYTES]
    say(kind.encode("ascii"), data)


def next_task(meanwhile: Callable[[], None] | None = None) -> dict[str, Any]:
    """Wait for the task, or the next cell; do something else first if that takes a while.

    The runner's end ends us too.
    """
    poll = select.poll()
    poll.register(CELLS, select.POLLIN)
    if meanwhile is not None and not poll.poll(PATIENCE_MS):
        meanwhile()
    task: dict[str, Any] = marshal.loads(told(int.from_bytes(told(4), "big")))
    return task


def told(size: int) -> bytes:
    """So many bytes of what the runner says."""
    data = b""
    while len(data) < size:
        part = os.read(CELLS, size - len(data))
        if not part:
            os._exit(0)
        data += part
    return data
