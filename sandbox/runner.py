"""The program that runs inside the sandbox and speaks with the host. Standard library only.

It forks the process that becomes user code, which imports modules beforehand, and waits for a
task; passes on its output and pictures as they come; kills every process that is left, collects
what lies in `/task/output` and reports. In a session the child stays and runs cell after cell, and
is stopped in between. The wire is described in `app/sandbox/executors/frames.py`.

It marks itself undumpable first, so that user code, which has the same uid, can reach neither
its descriptors nor its memory through /proc. Imports are kept few: they are most of a cold start.

Arguments: the descriptors to read from and to write to; 0 and 1 without them.
"""

# pathlib and typing would double the cold start
# ruff: noqa: PTH123
from __future__ import annotations

import marshal
import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

TASK, INPUT, OUTPUT = "/task", "/task/input", "/task/output"
EGRESS, PROXY_PORT = "/run/egress/proxy.sock", 3128
CHUNK = 1 << 16
NONCE_BYTES = 16
LAST_OF_USER = 6
SIGKILL = 9


def tool(name: str) -> Any:
    """A file from beside this one, under a name that no module of the user's has."""
    place, _, end = __file__.rpartition("runner")
    module: Any = type(sys)(f"uaol_{name}")
    module.__file__ = f"{place}{name}{end}"
    with open(module.__file__, "rb") as file:
        data = file.read()
    is_compiled = end.endswith(".pyc")
    code = marshal.loads(data[16:]) if is_compiled else compile(data, f"{name}.py", "exec")
    exec(code, module.__dict__)
    return module


class Wire:
    """The way to the host and back; user code never holds either descriptor."""

    def __init__(self, source: int, sink: int) -> None:
        """Move both above those that user code is to have, and put nothing in their place."""
        null = os.open("/dev/null", os.O_RDWR)
        while os.dup(null) <= LAST_OF_USER:
            continue
        self.source, self.sink = os.dup(source), os.dup(sink)
        self.relay = 0
        for fd in {0, 1, source, sink}:
            os.dup2(null, fd)

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes; raises EOFError when the host has gone."""
        parts = []
        while size:
            part = os.read(self.source, min(size, CHUNK))
            if not part:
                raise EOFError
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def receive(self) -> dict[str, Any]:
        """The next message of the host's."""
        message: dict[str, Any] = marshal.loads(self.read(int.from_bytes(self.read(4), "big")))
        return message

    def say(self, kind: bytes, payload: bytes = b"") -> None:
        """A frame to the host."""
        write_all(self.sink, kind + len(payload).to_bytes(4, "big") + payload)


def write_all(fd: int, data: bytes) -> None:
    """Write every byte."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class Place:
    """The folders of the task, held open: their names could come to mean something else."""

    def __init__(self) -> None:
        for folder in (INPUT, OUTPUT):
            if not os.path.isdir(folder):  # noqa: PTH112
                os.mkdir(folder, 0o755)  # noqa: PTH102
        self.task, self.input, self.output = map(opened, (TASK, INPUT, OUTPUT))
        os.chdir(self.output)
        self.cells = 0

    def put(self, wire: Wire, task: dict[str, Any]) -> tuple[str, str]:
        """Write input files and code: the code's path, and why that failed or an empty text."""
        why = ""
        os.chmod(self.input, 0o755)  # noqa: PTH101 - a descriptor
        for name, size in task["files"]:
            left = size
            try:
                target = create(name, self.input, 0o444)
                while left and not why:
                    part = wire.read(min(left, CHUNK))
                    left -= len(part)
                    write_all(target, part)
                os.close(target)
            except OSError as error:
                why = f"{name}: {error.strerror}"
            while left:
                left -= len(wire.read(min(left, CHUNK)))
        os.chmod(self.input, 0o555)  # noqa: PTH101
        self.cells += 1
        name = f"cell_{self.cells}.py" if task["is_session"] else "task.py"
        try:
            target = create(name, self.task, 0o644)
            write_all(target, task["code"].encode("utf-8", "surrogatepass"))
            os.close(target)
        except OSError as error:
            why = f"{name}: {error.strerror}"
        return f"{TASK}/{name}", why


def opened(folder: str) -> int:
    """A descriptor of a folder that is none of a link's."""
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)


def create(name: str, folder: int, mode: int) -> int:
    """A new file in place of whatever has that name."""
    try:  # noqa: SIM105 - contextlib is slow to import
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    return os.open(name, flags, mode, dir_fd=folder)


class Tasks:
    """One room and its tasks: a single one, or all the cells of a session."""

    def __init__(self, wire: Wire, processes: Any) -> None:
        self.wire, self.processes = wire, processes
        room = wire.receive()
        if room.get("filter"):
            tool("barrier").take(room["filter"])
        if room["relay"]:
            wire.relay = tool("relay").start(EGRESS, PROXY_PORT)
        sys.path[:] = [*sys.path[1:], *room["sites"]]
        user = tool("usercode").User(room, tool("notebook"))
        self.place = Place()
        self.child = processes.Child(wire, self.place.output, user)
        if room["imports"]:
            self.child.await_ready()
        wire.say(b"W", sys.version.split()[0].encode())

    def next(self) -> bool:
        """One task from its frame to its report; whether there may be another."""
        if self.place.cells:
            self.child.rest()
        task = self.wire.receive()
        name, why = self.place.put(self.wire, task)
        if self.child.has_died():
            raise EOFError
        times = os.times()
        spent = times.user + times.system + self.child.cpu()
        self.wire.say(b"R", f"{spent:.2f}".encode())
        if why:
            self.wire.say(b"e", f"sandbox: could not be written: {why}\n".encode())
            outcome = ("error", 1, ["0", "0", "0"])
        else:
            self.child.begin(task, name)
            outcome = self.child.follow()
        is_going_on = task["is_session"] and self.child.is_alive
        self.wire.say(b"E", b"k" if is_going_on else b"")
        collector = tool("collector").Collector(task["max_files"], task["output_bytes"])
        collector.walk(self.place.output)
        self.report(collector, outcome, self.wire.read(NONCE_BYTES))
        return bool(is_going_on)

    def report(self, collector: Any, outcome: tuple[str, int, list[str]], nonce: bytes) -> None:
        """Send the report and the files' bytes."""
        status, code, usage = outcome
        entries = [text for name, size, _ in collector.found for text in (name, str(size))]
        head = [status, str(code), *usage, str(len(collector.found))]
        parts = [field.encode() for field in (*head, *entries, *collector.notes())]
        body = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        self.wire.say(b"T", nonce + body)
        for _, size, file in collector.found:
            for start in range(0, size, CHUNK):
                part = self.processes.read_padded(file, min(size - start, CHUNK))
                self.wire.say(b"f", part)
            os.close(file)


def main() -> NoReturn:
    """Serve the host until it goes, then leave nothing behind."""
    if "UAOL_SANDBOX" not in os.environ:
        sys.exit("runner: only inside a sandbox; it signals every process that it can reach")
    processes = tool("child")
    processes.harden()
    wire = Wire(*map(int, sys.argv[1:3])) if len(sys.argv) > 2 else Wire(0, 1)
    try:
        tasks = Tasks(wire, processes)
        while tasks.next():
            continue
        # the host has what it wanted, and ends us
        wire.read(1)
    except (EOFError, ConnectionError):
        processes.signal_all(SIGKILL)
    os._exit(0)


if __name__ == "__main__":
    main()
