"""Watches one sandboxed process from outside: deadlines, byte caps, cancel, and its report.

Whatever happens, the process is dead when `outcome` returns: it is the parent of the sandbox's
pid namespace, so everything inside dies with it.
"""

import asyncio
import contextlib
import io
import os
import secrets
import subprocess
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from app.sandbox.executors.frames import ENDED, NONCE_BYTES, READY, FrameError, Report, read_report
from app.sandbox.executors.usage import tree_usage
from app.sandbox.types import Limits, Status, TaskResult, Usage

START_SECONDS = 30.0
COLLECT_SECONDS = 60.0
_EOF_SECONDS = 5.0
_TIE_SECONDS = 5.0
_CHUNK = 2**16

T = TypeVar("T")


class _StoppedError(Exception):
    def __init__(self, status: Status) -> None:
        super().__init__(status)
        self.status: Status = status


@dataclass
class _Stream:
    """Output up to a cap; `stop` is called once when there is more."""

    reader: asyncio.StreamReader
    cap: int
    stop: Callable[[], None]
    data: bytearray = field(default_factory=bytearray)
    is_truncated: bool = False

    async def drain(self) -> None:
        while chunk := await self.reader.read(_CHUNK):
            room = self.cap - len(self.data)
            self.data += chunk[:room]
            if len(chunk) > room:
                self.is_truncated = True
                self.stop()

    def text(self) -> str:
        return self.data.decode(errors="replace")


@dataclass(frozen=True)
class Child:
    """A started process with both its outputs piped here."""

    process: asyncio.subprocess.Process
    transport: asyncio.SubprocessTransport
    stdout: asyncio.StreamReader
    stderr: asyncio.StreamReader


async def start_child(argv: Sequence[str], inherited: Sequence[int]) -> Child:
    """Start `argv` with an empty environment and no descriptor but those. Raises OSError.

    Not `create_subprocess_exec`, which keeps the transport to itself: it must be closed.
    """
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.subprocess_exec(
        lambda: asyncio.subprocess.SubprocessStreamProtocol(_CHUNK, loop), *argv,
        env={}, cwd="/", pass_fds=tuple(inherited),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert protocol.stdout is not None
    assert protocol.stderr is not None
    process = asyncio.subprocess.Process(transport, protocol, loop)
    return Child(process, transport, protocol.stdout, protocol.stderr)


class Stop:
    """How a run is ended from outside; it can be asked for before the process has started."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        self.asked: asyncio.Future[Status] = asyncio.get_running_loop().create_future()

    def set(self, status: Status) -> None:
        """End the run with `status`; the first reason given counts."""
        if not self.asked.done():
            self.asked.set_result(status)


class Supervision:
    """One run of one process, from its start to its certain end."""

    def __init__(self, child: Child, limits: Limits, stop: Stop) -> None:
        self._child, self._limits = child, limits
        self._process = child.process
        self._stop = stop
        self._ready_at: float | None = None
        cap = limits.stdout_bytes
        self._streams = [
            _Stream(reader, cap, lambda: stop.set("output_limit"))
            for reader in (child.stdout, child.stderr)
        ]

    async def outcome(self, report_fd: int, feed_fd: int, frame: Iterator[bytes]) -> TaskResult:
        """Feed the task, follow it to its end, kill it, and say what came of it.

        Takes over both descriptors. Never raises for what the task does.
        """
        feeding = asyncio.create_task(asyncio.to_thread(feed, feed_fd, frame))
        feeding.add_done_callback(self._check_fed)
        drains = [asyncio.create_task(stream.drain()) for stream in self._streams]
        reader, transport = await _open_reader(report_fd)
        usage = Usage()
        try:
            status, report, why = await self._follow(reader, feed_fd)
            if report is None:
                usage = tree_usage(self._process.pid, self._elapsed())
        finally:
            await self._kill(reader)
            await asyncio.wait([*drains, feeding], timeout=_EOF_SECONDS)
            os.close(feed_fd)
            transport.close()
            for task in drains:
                task.cancel()
            self._child.transport.close()
        if feeding.done() and not feeding.cancelled() and (fault := feeding.exception()):
            why = str(fault)
        return self._result(status, report, usage, why)

    async def _follow(
        self, reader: asyncio.StreamReader, feed_fd: int
    ) -> tuple[Status, Report | None, str]:
        try:
            await self._mark(reader, READY, START_SECONDS, "infra_error")
            self._ready_at = time.monotonic()
            await self._mark(reader, ENDED, self._limits.wall_s, "timeout")
            nonce = secrets.token_bytes(NONCE_BYTES)
            feed(feed_fd, iter([nonce]))
            reading = read_report(reader, nonce, self._limits)
            report = await self._race(reading, COLLECT_SECONDS, "infra_error")
        except _StoppedError as stopped:
            return stopped.status, None, "the sandbox did not answer in time"
        except FrameError as error:
            return "infra_error", None, f"bad report: {error}"
        except asyncio.IncompleteReadError:
            # A runner that got as far as user code can only have been killed by it.
            status: Status = "infra_error" if self._ready_at is None else "killed"
            return status, None, "the sandbox ended without a report"
        return report.status, report, ""

    async def _mark(
        self, reader: asyncio.StreamReader, mark: bytes, seconds: float, late: Status
    ) -> None:
        if await self._race(reader.readexactly(1), seconds, late) != mark:
            raise FrameError("a mark is wrong")

    async def _race(self, awaitable: Awaitable[T], seconds: float, late: Status) -> T:
        task = asyncio.ensure_future(awaitable)
        first = asyncio.FIRST_COMPLETED
        either: list[asyncio.Future[Any]] = [task, self._stop.asked]
        try:
            await asyncio.wait(either, timeout=seconds, return_when=first)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
        if task.done() and not task.cancelled():
            return task.result()
        raise _StoppedError(self._stop.asked.result() if self._stop.asked.done() else late)

    async def _kill(self, reader: asyncio.StreamReader) -> None:
        """Kill the launcher, and with it the sandbox; not before the two are tied together.

        A launcher that dies between making the sandbox and tying it leaves an orphan behind.
        """
        with contextlib.suppress(TimeoutError, asyncio.IncompleteReadError):
            if self._ready_at is None:
                await asyncio.wait_for(reader.readexactly(1), _TIE_SECONDS)
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), _EOF_SECONDS)

    def _check_fed(self, feeding: asyncio.Task[None]) -> None:
        if not feeding.cancelled() and feeding.exception():
            self._stop.set("infra_error")

    def _elapsed(self) -> float:
        return 0.0 if self._ready_at is None else time.monotonic() - self._ready_at

    def _result(self, status: Status, report: Report | None, usage: Usage, why: str) -> TaskResult:
        out, err = self._streams
        if (out.is_truncated or err.is_truncated) and status != "infra_error":
            status = "output_limit"
        stderr = err.text()
        if status == "infra_error":
            stderr = f"{stderr.rstrip()}\nsandbox: {why}\n".lstrip()
        return TaskResult(
            status,
            report.exit_code if report else None,
            out.text(),
            stderr,
            out.is_truncated,
            err.is_truncated,
            report.files if report else (),
            report.dropped if report else (),
            report.usage if report else usage,
        )


def feed(fd: int, frame: Iterator[bytes]) -> None:
    """Write the whole frame, blocking; a reader that dies is its own news."""
    with contextlib.suppress(BrokenPipeError):
        for chunk in frame:
            view = memoryview(chunk)
            while view:
                view = view[os.write(fd, view) :]


async def _open_reader(fd: int) -> tuple[asyncio.StreamReader, asyncio.ReadTransport]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_CHUNK * 16)
    pipe = io.FileIO(fd, "rb")
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    return reader, transport
