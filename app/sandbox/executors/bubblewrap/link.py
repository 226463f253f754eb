"""One bubblewrap sandbox as its host holds it: the launcher, the first process inside, the wire.

Two processes are held by descriptor: the launcher, which is ours to wait for, and the runner. That
is the init of the sandbox's pid namespace: everything inside dies with it. The launcher tells its
number; before that the sandbox is not ended, as a launcher that dies between making the sandbox
and tying it to its own life leaves an orphan behind.
"""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.sandbox.executors.bubblewrap.pipes import Pipes, Slate
from app.sandbox.executors.cgroups import Counted, Group, Groups
from app.sandbox.executors.usage import tree_usage
from app.sandbox.links import Fate, Room

_TIE_SECONDS = 5.0
_END_SECONDS = 5.0
_LEAVE_SECONDS = 1.0
_READ_AHEAD = 2**18
_INIT = re.compile(rb'"child-pid": (\d+)\D')


class Wired:
    """Both ends of a sandbox's wire, and what its launcher is to tell, before there is a process.

    Everything that has to be waited for is done here, so that the start itself cannot be cut off
    halfway.
    """

    def __init__(self, pipes: Pipes) -> None:
        self.near, far = socket.socketpair()
        self.far = pipes.lend(far.detach())
        self.told, teller = os.pipe()
        self.teller = pipes.lend(teller)
        os.set_blocking(self.told, False)
        self.slate = Slate()

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """The host's end of the wire as streams."""
        return await asyncio.open_unix_connection(sock=self.near, limit=_READ_AHEAD)

    def close(self) -> None:
        """Give up before there was a process."""
        self.near.close()
        self.slate.close()
        os.close(self.told)


class BubblewrapLink:
    """See `Link`."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        wired: Wired,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        group: Group | None = None,
    ) -> None:
        """`group` is the control group that it is in already, to be removed with it."""
        loop = asyncio.get_running_loop()
        self.reader, self._writer = streams
        self._process, self._wired = process, wired
        self._launcher = os.pidfd_open(process.pid)
        self._init: asyncio.Future[tuple[int, int] | None] = loop.create_future()
        self._heard = b""
        self._group = group
        self._placing: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[Fate] | None = None
        loop.add_reader(wired.told, self._hear)

    @property
    def pid(self) -> int:
        """The launcher's process number."""
        return self._process.pid

    def place(self, groups: Groups, room: Room) -> None:
        """Have the sandbox moved to a group of its own; nothing is sent to it before."""
        self._placing = asyncio.create_task(self._place(groups, room))

    async def send(self, data: bytes) -> None:
        """See `Link.send`."""
        if self._placing is not None:
            await asyncio.shield(self._placing)
        if self._writer.is_closing():
            raise BrokenPipeError("the sandbox has gone")
        self._writer.write(data)
        await self._writer.drain()

    async def kill(self) -> Fate:
        """See `Link.kill`."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._end())
        return await asyncio.shield(self._ending)

    def _hear(self) -> None:
        """Learn the init's number; the launcher may say more, and would die if nobody listened."""
        try:
            data = os.read(self._wired.told, 4096)
        except BlockingIOError:
            return
        self._heard += data
        found = _INIT.search(self._heard)
        if not self._init.done() and (found or not data):
            self._init.set_result(_opened(int(found[1]), self.pid) if found else None)
        if not data:
            self._listen_no_more()

    def _listen_no_more(self) -> None:
        if self._wired.told >= 0:
            asyncio.get_running_loop().remove_reader(self._wired.told)
            os.close(self._wired.told)
        self._wired.told = -1

    async def _place(self, groups: Groups, room: Room) -> None:
        init = await asyncio.shield(self._init)
        if init is not None:
            self._group = await asyncio.to_thread(groups.new, room)
            await asyncio.to_thread(self._group.add, init[0])

    async def _end(self) -> Fate:
        init = await self._tied()
        usage = tree_usage(self._process.pid)
        if self._group is not None:
            with contextlib.suppress(OSError):
                self._group.unleash()
        # The init first: its launcher lets go of it, which nobody else here would, and leaves.
        if init is not None:
            await _end_process(init, patience=0.0)
        await _end_process(self._launcher, patience=0.0 if init is None else _LEAVE_SECONDS)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0)
        self._writer.transport.abort()
        complaint = self._wired.slate.read()
        self._wired.slate.close()
        counted = await asyncio.to_thread(self._leave_group)
        usage = replace(
            usage, cpu_s=max(usage.cpu_s, counted.cpu_s),
            peak_memory_bytes=usage.peak_memory_bytes or counted.peak_memory_bytes,
        )  # fmt: skip
        return Fate(counted.is_oom, usage, complaint)

    async def _tied(self) -> int | None:
        """Wait until the sandbox is whole: its init's descriptor, or None if there is none."""
        waiting: list[asyncio.Future[Any]] = [self._init]
        if self._placing is not None:
            waiting.append(self._placing)
        await asyncio.wait(waiting, timeout=_TIE_SECONDS)
        if self._placing is not None and self._placing.done() and not self._placing.cancelled():
            self._placing.exception()  # seen; who sends is told
        self._listen_no_more()
        init = self._init.result() if self._init.done() else None
        return init[1] if init else None

    def _leave_group(self) -> Counted:
        if self._group is None:
            return Counted()
        counted = self._group.counted()
        self._group.remove()
        return counted


def _opened(pid: int, parent: int) -> tuple[int, int] | None:
    """Number and descriptor of the init, if it is still the launcher's child."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    with contextlib.suppress(OSError, ValueError, IndexError):
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        if int(fields[1]) == parent:
            return pid, fd
    os.close(fd)
    return None


async def _end_process(fd: int, patience: float) -> None:
    """Kill a process that does not end in that time, and close its descriptor."""
    if not patience or not await _ended(fd, patience):
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(fd, signal.SIGKILL)
        await _ended(fd, _END_SECONDS)
    os.close(fd)


async def _ended(fd: int, seconds: float) -> bool:
    """Whether a process ends in that time; one that the kernel cannot let go of is left to it."""
    loop = asyncio.get_running_loop()
    dead = asyncio.Event()
    loop.add_reader(fd, dead.set)
    try:
        async with asyncio.timeout(seconds):
            await dead.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(fd)
    return True
