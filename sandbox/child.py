"""User code as the runner sees it: a process, its outputs, and a channel not to be trusted.

Owns the fork, what the child may hold, and the certain end of everything it starts. The child is
forked before there is a task and imports modules by itself: pages that it shared with the runner
would each cost a fault at their first use, which is most of a short task's time. Standard library
only; the runner loads it.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import marshal
import os
import select
import stat
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Outcome = tuple[str, int, list[str]]

CHUNK = 1 << 16
SAID_BYTES, PICTURE_BYTES, NAME_BYTES = 1 << 16, 1 << 24, 200
CHANNEL, CELLS, OUT, ERR = 3, 4, 5, 6
SET_DUMPABLE = 4
SIGINT, SIGKILL, SIGCONT, SIGSTOP, SIGXCPU = 2, 9, 18, 19, 24
TICKS = os.sysconf("SC_CLK_TCK")
# How often what is stopped is looked at, and the seconds of CPU that may take to stop, or to leave.
WATCH_MS, STOPPING_S = 1000, 0.5


def prctl(option: int, value: int) -> None:
    """Set a property of this process; `_ctypes` alone loads in half the time of `ctypes`."""
    import _ctypes

    program = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]
    address = _ctypes.dlsym(program, "prctl")
    if _ctypes.call_function(address, (option, value, 0, 0, 0)):
        raise OSError("prctl was refused")


def harden() -> None:
    """Let this process out of user code's reach: see proc(5) of being undumpable.

    Of signals the first process of a sandbox gets from inside only those that it handles, and
    Python handles this one.
    """
    prctl(SET_DUMPABLE, 0)
    _signal.signal(SIGINT, _signal.SIG_IGN)


def end_of(pid: int) -> int:
    """A descriptor that can be read once the child has ended; it still has to be waited for."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        # gVisor has no such call
        import _thread

        reader, writer = os.pipe()

        def watch() -> None:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            os.close(writer)

        _thread.start_new_thread(watch, ())
        return reader


class Child:
    """The process of one task, or of a session's cells: `begin` and `follow` for each."""

    def __init__(self, wire: Any, output: int, user: Any) -> None:
        self.wire, self.output = wire, output
        out, err, channel, cells = os.pipe(), os.pipe(), os.pipe(), os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                become(out[1], err[1], channel[1], cells[0])
                user.live()
            finally:
                os._exit(1)
        for fd in (out[1], err[1], channel[1], cells[0]):
            os.close(fd)
        self.out, self.err, self.channel, self.cells = out[0], err[0], channel[0], cells[1]
        self.ended = end_of(self.pid)
        self.is_alive, self.is_new = True, True
        self.said = b""

    def await_ready(self) -> None:
        """Wait until it has imported what it is to; raises EOFError if it died of that."""
        if os.read(self.channel, 1) != b"r":
            raise EOFError

    def has_died(self) -> bool:
        """Whether it ended while it waited."""
        poll = select.poll()
        poll.register(self.ended, select.POLLIN)
        return bool(poll.poll(0))

    def begin(self, task: dict[str, Any], name: str) -> None:
        """Forget the last cell and give it the next, or its task, whose code is in file `name`."""
        self.task = task
        self.said = b""
        self.is_oom = self.is_garbled = False
        self.code: int | None = None
        self.pictures, self.left = task["max_files"], task["output_bytes"]
        self.cpu_before: float | None = None if self.is_new else self.cpu()
        if not self.is_new:
            signal_all(SIGCONT)
        self.is_new = False
        self.started = time.monotonic()
        body = marshal.dumps({**task, "code": name, "files": ()}, 2)
        try:  # noqa: SIM105 - contextlib is slow to import
            os.write(self.cells, len(body).to_bytes(4, "big") + body)
        except OSError:
            pass  # it has ended, which is noticed at once

    def follow(self) -> Outcome:
        """Pass on what comes until the task, or cell, is over: status, exit code, usage.

        Raises EOFError when the host has gone: that it is dead, or wants us dead, must be noticed
        even if it happened before the launcher had tied our life to its own.
        """
        poll = select.poll()
        for fd in (self.ended, self.out, self.err, self.channel):
            poll.register(fd, select.POLLIN)
        poll.register(self.wire.source, 0)  # a hang-up is always told
        is_init = os.getpid() == 1
        while self.code is None:
            ready = [fd for fd, _ in poll.poll(1000 if is_init else None)]
            if self.wire.source in ready:
                raise EOFError
            if is_init:
                reap_others(self.pid)
            for fd in ready:
                if fd == self.ended:
                    return self.end()
                if not self.pump(fd):
                    poll.unregister(fd)
        return self.pause() if self.task["is_session"] else self.done()

    def pump(self, fd: int) -> bool:
        """Pass on one piece of what a descriptor has; False at its end."""
        try:
            data = os.read(fd, CHUNK)
        except BlockingIOError:
            return False
        if data and fd == self.channel:
            self.hear(data)
        elif data:
            self.wire.say(b"o" if fd == self.out else b"e", data)
        return bool(data)

    def hear(self, data: bytes) -> None:
        """Take frames from the channel; one that is none makes the rest worthless."""
        self.said += data
        while len(self.said) >= 5 and not self.is_garbled:
            kind, size = self.said[:1], int.from_bytes(self.said[1:5], "big")
            self.is_garbled = kind not in b"smvpc" or size > SAID_BYTES
            if len(self.said) < 5 + size:
                break
            payload, self.said = self.said[5 : 5 + size], self.said[5 + size :]
            self.take(kind, payload)
        if self.is_garbled:
            self.said = b""

    def take(self, kind: bytes, payload: bytes) -> None:
        """One thing that was said."""
        if kind == b"s":
            # the first it says, before user code; any other is user code's
            if self.cpu_before is None:
                self.cpu_before = float(payload)
        elif kind == b"m":
            self.is_oom = True
        elif kind == b"v":
            self.wire.say(b"v", payload)
        elif kind == b"p":
            self.show(payload)
        elif kind == b"c" and len(payload) == 1:
            self.code = payload[0]

    def show(self, name: bytes) -> None:
        """Send a picture that lies in the output folder, if it is a file and there is room."""
        if not (is_plain(name) and self.pictures):
            return
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
            fd = os.open(name, flags, dir_fd=self.output)
        except OSError:
            return
        about = os.fstat(fd)
        if stat.S_ISREG(about.st_mode) and about.st_size <= min(self.left, PICTURE_BYTES):
            data = read_padded(fd, about.st_size)
            self.pictures, self.left = self.pictures - 1, self.left - len(data)
            self.wire.say(b"p", len(name).to_bytes(2, "big") + name + data)
        os.close(fd)

    def rest(self) -> None:
        """Wait for the host's next cell. Raises EOFError where the user's code goes on meanwhile.

        The kernel lets a stopped process go on at the signal of a timer, or of a file, that the
        process has asked for. What it does then is under no limit of a cell's and on no bill.
        """
        before, newest = self.clocks(), newest_process()
        poll = select.poll()
        poll.register(self.wire.source, select.POLLIN)
        is_told = False
        while not is_told:
            is_told = bool(poll.poll(WATCH_MS))
            now = self.clocks()
            used = sum(now[pid] - before.get(pid, 0.0) for pid in now)
            if used > STOPPING_S or newest_process() != newest or self.has_died():
                raise EOFError

    def clocks(self) -> dict[int, float]:
        """Seconds of CPU of each of the user's processes."""
        found = {}
        for pid in self.users():
            try:  # noqa: SIM105 - contextlib is slow to import
                found[pid] = cpu_clock(pid)
            except OSError:
                pass  # it has gone
        return found

    def pause(self) -> Outcome:
        """Have all of the user's stopped, which `rest` sees to until the next cell."""
        signal_all(SIGSTOP)
        self.drain()
        return (*self.verdict(), self.usage(self.cpu(), self.peak()))

    def done(self) -> Outcome:
        """The process has done all but leave, and never gets to: it is stopped for good.

        To take its memory apart would take longer than most tasks; that is for the sandbox's end.
        If it has, or had, children, it ends now: only that tells what they used.
        """
        if self.has_company():
            return self.end()
        outcome = self.pause()
        self.is_alive = False
        return outcome

    def drain(self) -> None:
        """Pass on what is in the pipes now."""
        for fd in (self.out, self.err):
            os.set_blocking(fd, False)
            while self.pump(fd):
                continue
            os.set_blocking(fd, True)

    def verdict(self) -> tuple[str, int]:
        """Status and exit code as the process itself told them."""
        code = self.code or 0
        return ("ok" if code == 0 else "oom" if self.is_oom else "error"), code

    def end(self) -> Outcome:
        """The process ends, or has: kill what it left, and take what is still in the pipes."""
        self.is_alive = False
        signal_all(SIGKILL)
        _, waited, usage = os.wait4(self.pid, 0)
        for fd in (self.out, self.err, self.channel):
            while self.pump(fd):
                continue
        cpu = usage.ru_utime + usage.ru_stime
        status, code = self.verdict()
        if self.code is None:
            status, code = verdict(waited, cpu - (self.cpu_before or 0), self.task, self.is_oom)
        return status, code, self.usage(cpu, usage.ru_maxrss * 1024)

    def usage(self, cpu: float, peak: int) -> list[str]:
        """What this task, or cell, used as the report has it."""
        wall = time.monotonic() - self.started
        return [f"{max(cpu - (self.cpu_before or 0), 0):.6f}", f"{wall:.6f}", str(peak)]

    def cpu(self) -> float:
        """Seconds of CPU of the process and of the children it has waited for."""
        if not self.is_alive:
            return 0.0
        return cpu_clock(self.pid) + sum(int(field) for field in self.fields()[13:15]) / TICKS

    def fields(self) -> list[bytes]:
        """What /proc tells of the process, from its state on; see proc(5)."""
        with open(f"/proc/{self.pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib is slow to load
            return file.read().rpartition(b")")[2].split()

    def has_company(self) -> bool:
        """Whether it has waited for children, or others than it are there."""
        return self.users() != {self.pid} or self.fields()[13:15] != [b"0", b"0"]

    def users(self) -> set[int]:
        """The processes that are there and not the sandbox's own."""
        there = {int(name) for name in os.listdir("/proc") if name.isdigit()}  # noqa: PTH208
        return there - {1, os.getpid(), os.getppid(), self.wire.relay}

    def peak(self) -> int:
        """The most memory the process had at once."""
        with open(f"/proc/{self.pid}/status", "rb") as file:  # noqa: PTH123
            for line in file:
                if line.startswith(b"VmHWM:"):
                    return int(line.split()[1]) * 1024
        return 0


def become(out: int, err: int, channel: int, cells: int) -> None:
    """In the child: let go of the runner's descriptors; its outputs wait for the task."""
    for fd, place in ((channel, CHANNEL), (cells, CELLS), (out, OUT), (err, ERR)):
        os.dup2(fd, place)
    os.closerange(ERR + 1, 1 << 20)
    _signal.signal(SIGINT, _signal.default_int_handler)
    prctl(SET_DUMPABLE, 1)


def is_plain(name: bytes) -> bool:
    """Whether the host takes it for a picture's name; the collector tells of files of others."""
    if not 0 < len(name) <= NAME_BYTES or b"/" in name or b"\\" in name:
        return False
    try:
        return name.decode().isprintable()
    except UnicodeDecodeError:
        return False


def read_padded(fd: int, size: int) -> bytes:
    """Exactly `size` bytes of a file that may have shrunk since it was measured."""
    parts = []
    while size and (part := os.read(fd, min(size, CHUNK))):
        parts.append(part)
        size -= len(part)
    return b"".join(parts) + bytes(size)


def cpu_clock(pid: int) -> float:
    """Seconds of CPU of a process: CPUCLOCK_SCHED, see clock_getcpuclockid(3). Raises OSError."""
    return time.clock_gettime(~pid << 3 | 2)


def newest_process() -> bytes:
    """The number that was given out last: a change tells of processes that have gone again."""
    with open("/proc/loadavg", "rb") as file:  # noqa: PTH123
        return file.read().split()[-1]


def signal_all(number: int) -> None:
    """Signal every other process of the sandbox but its init."""
    try:  # noqa: SIM105 - contextlib is slow to import
        os.kill(-1, number)
    except ProcessLookupError:
        pass


def reap_others(child: int) -> None:
    """As the sandbox's first process: let go of orphans, which count until somebody does."""
    try:
        while found := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if found.si_pid == child:
                return
            os.waitpid(found.si_pid, 0)
    except ChildProcessError:
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
