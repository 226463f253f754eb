"""User code as the runner sees it: a process, its outputs, and a channel not to be trusted.

Owns the fork, what the child may hold, and the certain end of everything it starts. Standard
library only; the runner loads it.
"""

from __future__ import annotations

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
CHANNEL, CELLS = 3, 4
SET_DUMPABLE = 4
SIGKILL, SIGCONT, SIGSTOP, SIGXCPU = 9, 18, 19, 24
TICKS = os.sysconf("SC_CLK_TCK")


def prctl(option: int, value: int) -> None:
    """Set a property of this process; `_ctypes` alone loads in half the time of `ctypes`."""
    import _ctypes

    program = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]
    address = _ctypes.dlsym(program, "prctl")
    if _ctypes.call_function(address, (option, value, 0, 0, 0)):
        raise OSError("prctl was refused")


class Child:
    """The process of one task, or of a session's kernel, whose `follow` is called for each cell."""

    def __init__(self, wire: Any, output: int, task: dict[str, Any], name: str, user: Any) -> None:
        self.wire, self.output = wire, output
        out, err, channel = os.pipe(), os.pipe(), os.pipe()
        cells = os.pipe() if task["is_session"] else (-1, -1)
        self.begin(task)
        self.pid = os.fork()
        if self.pid == 0:
            try:
                become(out[1], err[1], channel[1], cells[0])
                user.live(task, name)
            finally:
                os._exit(1)
        for fd in (out[1], err[1], channel[1], cells[0]):
            if fd >= 0:
                os.close(fd)
        self.out, self.err, self.channel, self.cells = out[0], err[0], channel[0], cells[1]
        self.ended = os.pidfd_open(self.pid)
        self.is_alive = True
        self.cpu_before = 0.0

    def begin(self, task: dict[str, Any]) -> None:
        """Forget the last cell."""
        self.task = task
        self.started = time.monotonic()
        self.said = b""
        self.is_oom = self.is_garbled = False
        self.code: int | None = None
        self.pictures, self.left = task["max_files"], task["output_bytes"]

    def go_on(self, task: dict[str, Any], name: str) -> None:
        """Have a session's process run its next cell."""
        self.begin(task)
        self.cpu_before = self.cpu()
        signal_all(SIGCONT)
        try:  # noqa: SIM105 - contextlib is slow to import
            os.write(self.cells, f"{task['cpu_s']} {name}\n".encode())
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
        return self.pause()

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
            self.is_garbled = kind not in b"mvpc" or size > SAID_BYTES
            if len(self.said) < 5 + size:
                break
            payload, self.said = self.said[5 : 5 + size], self.said[5 + size :]
            self.take(kind, payload)
        if self.is_garbled:
            self.said = b""

    def take(self, kind: bytes, payload: bytes) -> None:
        """One thing that was said."""
        if kind == b"m":
            self.is_oom = True
        elif kind == b"v":
            self.wire.say(b"v", payload)
        elif kind == b"p":
            self.show(payload)
        elif kind == b"c" and self.cells >= 0 and len(payload) == 1:
            self.code = payload[0]

    def show(self, name: bytes) -> None:
        """Send a picture that lies in the output folder, if it is a file and there is room."""
        if not 0 < len(name) <= NAME_BYTES or b"/" in name or b"\0" in name or not self.pictures:
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

    def pause(self) -> Outcome:
        """A session's cell is over: nothing of the user's goes on until the next."""
        signal_all(SIGSTOP)
        for fd in (self.out, self.err):
            os.set_blocking(fd, False)
            while self.pump(fd):
                continue
            os.set_blocking(fd, True)
        code = self.code or 0
        status = "ok" if code == 0 else "oom" if self.is_oom else "error"
        return status, code, self.usage(self.cpu(), self.peak())

    def end(self) -> Outcome:
        """The process has ended: kill what it left, and take what is still in the pipes."""
        self.is_alive = False
        _, waited, usage = os.wait4(self.pid, 0)
        signal_all(SIGKILL)
        for fd in (self.out, self.err, self.channel):
            while self.pump(fd):
                continue
        cpu = usage.ru_utime + usage.ru_stime
        status, code = verdict(waited, cpu - self.cpu_before, self.task, self.is_oom)
        return status, code, self.usage(cpu, usage.ru_maxrss * 1024)

    def usage(self, cpu: float, peak: int) -> list[str]:
        """What this task, or cell, used as the report has it."""
        wall = time.monotonic() - self.started
        return [f"{max(cpu - self.cpu_before, 0):.6f}", f"{wall:.6f}", str(peak)]

    def cpu(self) -> float:
        """Seconds of CPU of the process and of the children it has waited for."""
        if not self.is_alive:
            return 0.0
        with open(f"/proc/{self.pid}/stat", "rb") as file:  # noqa: PTH123 - pathlib is slow to load
            fields = file.read().rpartition(b")")[2].split()
        return sum(int(field) for field in fields[11:15]) / TICKS

    def peak(self) -> int:
        """The most memory the process had at once."""
        with open(f"/proc/{self.pid}/status", "rb") as file:  # noqa: PTH123 - as above
            for line in file:
                if line.startswith(b"VmHWM:"):
                    return int(line.split()[1]) * 1024
        return 0


def become(out: int, err: int, channel: int, cells: int) -> None:
    """In the child: hold the descriptors of user code and no other; be an ordinary process."""
    os.dup2(out, 1)
    os.dup2(err, 2)
    os.dup2(channel, CHANNEL)
    if cells >= 0:
        os.dup2(cells, CELLS)
    os.closerange(CELLS + (cells >= 0), 1 << 20)
    prctl(SET_DUMPABLE, 1)


def read_padded(fd: int, size: int) -> bytes:
    """Exactly `size` bytes of a file that may have shrunk since it was measured."""
    parts = []
    while size and (part := os.read(fd, min(size, CHUNK))):
        parts.append(part)
        size -= len(part)
    return b"".join(parts) + bytes(size)


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
