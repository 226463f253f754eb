"""The program that runs inside the sandbox: one task, one life. Standard library only.

It reads the task from one descriptor, runs the code in a forked child, kills every process that
is left, collects what lies in `/task/output` and reports on another descriptor. It marks itself
undumpable first, so that the child, which has the same uid, can reach neither its descriptors
nor its memory through /proc. Imports are kept few: they are most of a cold start. The wire is
described in `app/sandbox/executors/frames.py`.

Arguments: descriptor to read the task from, descriptor to write the report to.
"""

# pathlib and typing would double the cold start
# ruff: noqa: PTH101, PTH123
from __future__ import annotations

import marshal
import os
import resource
import stat
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

INPUT, OUTPUT, CODE = "/task/input", "/task/output", "/task/task.py"
CHUNK = 1 << 16
NAME_BYTES, DEPTH, DROPPED = 400, 16, 100
SET_DUMPABLE = 4
SIGKILL, SIGXCPU = 9, 24
OOM_FD = 3

if TYPE_CHECKING:
    Found = list[tuple[str, int, int]]


def prctl(option: int, value: int) -> None:
    """Set a property of this process; `_ctypes` alone loads in half the time of `ctypes`."""
    import _ctypes

    program = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]
    address = _ctypes.dlsym(program, "prctl")
    if _ctypes.call_function(address, (option, value, 0, 0, 0)):
        raise OSError("prctl was refused")


def read_exactly(fd: int, size: int) -> bytes:
    """Read `size` bytes; raises EOFError when there is less."""
    parts = []
    while size:
        part = os.read(fd, min(size, CHUNK))
        if not part:
            raise EOFError("cut short")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def write_all(fd: int, data: bytes) -> None:
    """Write every byte."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def receive_files(fd: int, files: list[tuple[str, int]]) -> None:
    """Copy the input files to `/task/input` and take the right to write there away."""
    for name, size in files:
        target = os.open(f"{INPUT}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444)
        for start in range(0, size, CHUNK):
            write_all(target, read_exactly(fd, min(size - start, CHUNK)))
        os.close(target)
    os.chmod(INPUT, 0o555)


def limit(task: dict[str, Any]) -> None:
    """Set the limits on user code; the runner needs none for itself."""
    cpu, space = task["cpu_s"], task["memory_bytes"]
    # init and the runner count too
    processes = task["processes"] + 2
    for kind, soft, hard in (
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_CPU, cpu, cpu + 1),
        (resource.RLIMIT_FSIZE, task["tmp_bytes"], task["tmp_bytes"]),
        (resource.RLIMIT_NOFILE, 1024, 1024),
        (resource.RLIMIT_NPROC, processes, processes),
        (resource.RLIMIT_AS, space, space),
    ):
        resource.setrlimit(kind, (soft, hard))


def run_child(task: dict[str, Any], oom_fd: int) -> NoReturn:
    """Become user code: shed every descriptor, take the limits, run, leave with its exit code."""
    os.dup2(oom_fd, OOM_FD)
    os.closerange(OOM_FD + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    code, sites = task["code"], task["sites"]
    limit(task)
    prctl(SET_DUMPABLE, 1)
    sys.path[:] = ["/task", *sys.path[1:], *sites]
    sys.prefix = sys.exec_prefix = task["prefix"]
    sys.argv = [CODE]
    status = 1
    try:
        status = execute(code)
    finally:
        status = finish(status)
        os._exit(status)


def execute(code: str) -> int:
    """Run the source as `__main__`; its exit code, with the traceback of user frames on stderr."""
    module = type(sys)("__main__")
    module.__dict__.update(__file__=CODE, __builtins__=__builtins__)
    sys.modules["__main__"] = module
    try:
        exec(compile(code, CODE, "exec", dont_inherit=True), module.__dict__)
    except SystemExit as leaving:
        return exit_code(leaving.code)
    except BaseException as error:  # noqa: BLE001 - whatever user code raises
        if isinstance(error, MemoryError):
            os.write(OOM_FD, b"m")
        show(error)
        return 1
    return 0


def exit_code(value: object) -> int:
    """What `sys.exit(value)` means to the shell."""
    if value is None:
        return 0
    if isinstance(value, int):
        return value & 0xFF
    sys.stderr.write(f"{value}\n")
    return 1


def show(error: BaseException) -> None:
    """Print a traceback that begins at user code."""
    import traceback

    trace = error.__traceback__
    while trace and trace.tb_frame.f_code.co_filename != CODE:
        trace = trace.tb_next
    traceback.print_exception(type(error), error, trace)


def finish(status: int) -> int:
    """What the interpreter does at its end, short of tearing down modules nobody needs again."""
    import atexit

    try:
        if threading := sys.modules.get("threading"):
            threading._shutdown()  # noqa: SLF001 - as the interpreter itself does
        atexit._run_exitfuncs()  # noqa: SLF001
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException as error:  # noqa: BLE001 - whatever user code raises
        show(error)
        return status or 1
    return status


def wait(child: int, source: int) -> tuple[int, Any]:
    """Reap the child and kill whatever it left running; its wait status and its usage.

    Ends at once when the host lets go of its end of `source`: that it is dead, or wants us dead,
    must be noticed even if it happened before the launcher had tied our life to its own.
    """
    import select

    ended = os.pidfd_open(child)
    events = select.poll()
    events.register(ended, select.POLLIN)
    events.register(source, 0)  # a hang-up is always told
    is_host_gone = all(fd != ended for fd, _ in events.poll())
    os.close(ended)
    if is_host_gone:
        kill_rest()
        os._exit(1)
    _, status, usage = os.wait4(child, 0)
    kill_rest()
    return status, usage


def kill_rest() -> None:
    """Kill every other process of the sandbox but its init."""
    try:  # noqa: SIM105 - contextlib is slow to import
        os.kill(-1, SIGKILL)
    except ProcessLookupError:
        pass


def verdict(status: int, cpu: float, limits: dict[str, Any], is_oom: bool) -> tuple[str, int]:
    """Status and exit code of the task; a signal is a negative exit code."""
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        return "ok", 0
    if code == -SIGXCPU or (code == -SIGKILL and cpu >= 0.8 * limits["cpu_s"]):
        return "timeout", code
    if is_oom:
        return "oom", code
    return ("killed" if code == -SIGKILL else "error"), code


class Collector:
    """Gathers regular files below `/task/output`; says what it left out and why."""

    def __init__(self, files: int, total: int) -> None:
        self.files, self.left = files, total
        self.found: Found = []
        self.dropped: list[str] = []
        self.unlisted = 0

    def drop(self, name: str, why: str) -> None:
        """Note a refused output, up to a number of notes."""
        if len(self.dropped) < DROPPED:
            self.dropped.append(f"{ascii(name)[1:-1][:NAME_BYTES]}: {why}")
        else:
            self.unlisted += 1

    def walk(self, folder: int, prefix: str, depth: int) -> None:
        """Take one folder, by descriptor, in the order of names."""
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        for entry in found:
            name = prefix + entry.name
            why = name_problem(name)
            if why:
                self.drop(name, why)
            elif entry.is_dir(follow_symlinks=False):
                self.enter(folder, entry.name, name, depth)
            else:
                self.take(folder, entry.name, name)

    def enter(self, folder: int, entry: str, name: str, depth: int) -> None:
        """Go down, unless that is too deep or forbidden."""
        if depth >= DEPTH:
            self.drop(name, "nested too deep")
            return
        try:
            inner = os.open(entry, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
        except OSError as error:
            self.drop(name, error.strerror or "unreadable")
            return
        self.walk(inner, name + "/", depth + 1)
        os.close(inner)

    def take(self, folder: int, entry: str, name: str) -> None:
        """Open a file for sending, if it is regular and there is room for it."""
        kind = stat.S_IFMT(os.lstat(entry, dir_fd=folder).st_mode)
        if kind != stat.S_IFREG:
            self.drop(name, "symbolic link" if kind == stat.S_IFLNK else "not a regular file")
            return
        if len(self.found) >= self.files:
            self.drop(name, "too many files")
            return
        try:
            fd = os.open(entry, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
        except OSError as error:
            self.drop(name, error.strerror or "unreadable")
            return
        size = os.fstat(fd).st_size
        if size > self.left:
            os.close(fd)
            self.drop(name, "too large")
            return
        self.left -= size
        self.found.append((name, size, fd))

    def notes(self) -> list[str]:
        """Everything refused, with a count of what did not fit the list."""
        return [*self.dropped, *([f"and {self.unlisted} more"] if self.unlisted else [])]


def name_problem(name: str) -> str | None:
    """Why a relative name is refused, or None."""
    try:
        raw = name.encode()
    except UnicodeEncodeError:
        return "name is not UTF-8"
    if len(raw) > NAME_BYTES:
        return "name is too long"
    if not name.isprintable() or "\\" in name:
        return "name has control characters"
    return None


def report(fd: int, nonce: bytes, fields: list[str], found: Found) -> None:
    """Write the report and the files' bytes."""
    parts = [field.encode() for field in fields]
    body = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    write_all(fd, nonce + len(body).to_bytes(4, "big") + body)
    for _, size, file in found:
        for start in range(0, size, CHUNK):
            write_all(fd, read_exactly(file, min(size - start, CHUNK)))


def run_task(task: dict[str, Any], source: int) -> tuple[str, int, list[str]]:
    """Fork user code and wait for its end: status, exit code, and the usage as fields."""
    reader, writer = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        run_child(task, writer)
    os.close(writer)
    status, usage = wait(child, source)
    wall = time.monotonic() - started
    os.set_blocking(reader, False)
    try:
        is_oom = os.read(reader, 1) == b"m"
    except BlockingIOError:
        is_oom = False
    cpu = usage.ru_utime + usage.ru_stime
    name, code = verdict(status, cpu, task, is_oom)
    return name, code, [f"{cpu:.6f}", f"{wall:.6f}", str(usage.ru_maxrss * 1024)]


def main() -> None:
    """One task from the first descriptor, one report to the second."""
    prctl(SET_DUMPABLE, 0)
    source, sink = int(sys.argv[1]), int(sys.argv[2])
    task = marshal.loads(read_exactly(source, int.from_bytes(read_exactly(source, 4), "big")))
    receive_files(source, task["files"])
    with open(CODE, "w", encoding="utf-8") as file:
        file.write(task["code"])
    output = os.open(OUTPUT, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.write(sink, b"R")
    status, code, usage = run_task(task, source)
    os.write(sink, b"E")
    # RLIMIT_NOFILE of the runner bounds the files it may hold open
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    collector = Collector(task["max_files"], task["output_bytes"])
    collector.walk(output, "", 0)
    nonce = read_exactly(source, 16)
    entries = [text for name, size, _ in collector.found for text in (name, str(size))]
    head = [status, str(code), *usage, str(len(collector.found))]
    report(sink, nonce, [*head, *entries, *collector.notes()], collector.found)


if __name__ == "__main__":
    main()
