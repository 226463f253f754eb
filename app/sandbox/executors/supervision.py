"""Watches one sandboxed process from outside: deadlines, byte caps, cancel, and its report.

Whatever happens, the process is dead when `outcome` returns: it is the parent of the sandbox's
pid namespace, so everything inside dies with it.
"""

import asyncio
import contextlib
import io
import os
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from app.sandbox.executors.frames import ENDED, READY, FrameError, Report, read_report
from app.sandbox.executors.usage import tree_usage
from app.sandbox.types import Limits, Status, TaskResult, Usage

START_SECONDS = 30.0
COLLECT_SECONDS = 60.0
_EOF_SECONDS = 5.0
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


class Supervision:
    """One run of one process, from its start to its certain end."""

    def __init__(
        self, task_id: str, process: asyncio.subprocess.Process, limits: Limits, nonce: bytes
    ) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self.task_id = task_id
        self._process, self._limits, self._nonce = process, limits, nonce
        self._stop: asyncio.Future[Status] = asyncio.get_running_loop().create_future()
        self._ready_at: float | None = None
        cap = limits.stdout_bytes
        self._streams = [
            _Stream(reader, cap, lambda: self.stop("output_limit"))
            for reader in (process.stdout, process.stderr)
        ]

    def stop(self, status: Status) -> None:
        """End the run with `status`; the first reason given counts."""
        if not self._stop.done():
            self._stop.set_result(status)

    async def outcome(self, report_fd: int, feed_fd: int, frame: Iterator[bytes]) -> TaskResult:
        """Feed the task, follow it to its end, kill it, and say what came of it.

        Takes over both descriptors. Never raises for what the task does.
        """
        feeding = asyncio.create_task(asyncio.to_thread(feed, feed_fd, frame))
        drains = [asyncio.create_task(stream.drain()) for stream in self._streams]
        reader, transport = await _open_reader(report_fd)
        usage = Usage()
        try:
            status, report, why = await self._follow(reader)
            if report is None:
                usage = tree_usage(self._process.pid, self._elapsed())
        finally:
            await self._kill()
            transport.close()
            await asyncio.wait([*drains, feeding], timeout=_EOF_SECONDS)
            for task in drains:
                task.cancel()
        if feeding.done() and not feeding.cancelled() and (fault := feeding.exception()):
            why = str(fault)
        return self._result(status, report, usage, why)

    async def _follow(self, reader: asyncio.StreamReader) -> tuple[Status, Report | None, str]:
        try:
            await self._mark(reader, READY, START_SECONDS, "infra_error")
            self._ready_at = time.monotonic()
            await self._mark(reader, ENDED, self._limits.wall_s, "timeout")
            reading = read_report(reader, self._nonce, self._limits)
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
        either: list[asyncio.Future[Any]] = [task, self._stop]
        try:
            await asyncio.wait(either, timeout=seconds, return_when=first)
        finally:
            if not task.done():
                task.cancel()
        if task.done() and not task.cancelled():
            return task.result()
        raise _StoppedError(self._stop.result() if self._stop.done() else late)

    async def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()

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
    """Write the whole frame, in a thread, and close; a reader that dies is its own news."""
    with open(fd, "wb", buffering=0) as pipe, contextlib.suppress(BrokenPipeError):
        for chunk in frame:
            view = memoryview(chunk)
            while view:
                view = view[os.write(pipe.fileno(), view) :]


async def _open_reader(fd: int) -> tuple[asyncio.StreamReader, asyncio.ReadTransport]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_CHUNK * 16)
    pipe = io.FileIO(fd, "rb")
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), pipe)
    return reader, transport
