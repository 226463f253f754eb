"""A started sandbox that can be spoken to: made ready, given its task, and certainly ended.

A worker runs one task; in a session it runs one after another. Whatever goes wrong, it is dead
when `run` returns; after an honest end it is left to whoever holds it, so that nobody waits.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from app.sandbox.executors import frames
from app.sandbox.executors.conversation import Conversation, Heard, Stop, task_message
from app.sandbox.executors.diagnosis import explain
from app.sandbox.executors.frames import FrameError, Report
from app.sandbox.executors.inputs import OpenInput, close_inputs, open_inputs
from app.sandbox.links import Fate, Link, Room
from app.sandbox.types import OutputFile, Status, TaskResult, TaskSpec, Usage

__all__ = ["Stop", "Worker"]

READY_SECONDS = 60.0

Told = tuple[Report, tuple[OutputFile, ...]]


class Worker:
    """One sandbox and the conversation over its link."""

    def __init__(self, link: Link, room: Room, head: Mapping[str, object]) -> None:
        """`head` is the backend's: what the runner must know of the place it is in."""
        self._link, self._room, self._head = link, room, head
        self._is_ready = self._is_over = False
        self._first: TaskSpec | None = None
        self.has_begun = False
        self.python = ""

    @property
    def is_alive(self) -> bool:
        """Whether it can be given a task, as far as is known without asking it."""
        return self._is_ready and not self._is_over and not self._link.reader.at_eof()

    async def start(self, first: TaskSpec | None = None) -> None:
        """Say what the room is and wait until the runner is ready for a task.

        `first` is the task to `run` next, where it is known, and needs nothing but its code: it
        is told at once, so that the runner has it when it is ready.

        Raises IsolationError where sandboxes cannot be made here, OSError for what may pass;
        the sandbox is dead then.
        """
        try:
            await self._greet(first)
        except (FrameError, EOFError, OSError) as error:
            fate = await self.kill()
            explain(fate.complaint)
            told = fate.complaint.strip()[-500:]
            raise OSError(f"The sandbox did not become ready: {told or repr(error)}") from error
        except BaseException:
            await self.kill()
            raise

    async def run(
        self, spec: TaskSpec, heard: Heard | None = None, stop: Stop | None = None
    ) -> TaskResult:
        """Run one task to its end, a failure's included; never raises for what the code does.

        `heard` is told of output and pictures as they come. A status of `infra_error` while
        `has_begun` is false says that user code never started. Raises AppError(INVALID_INPUT)
        for an input file that cannot be read; the worker is untouched then.
        """
        stop = stop or Stop(spec.task_id)
        inputs = await asyncio.to_thread(open_inputs, spec) if spec.input_files else []
        self.has_begun = False
        is_said, self._first = self._first is spec, None
        talk = Conversation(self._link, spec, stop, heard, is_said=is_said)
        try:
            result = await self._run(talk, stop, inputs)
        except BaseException:
            await self.kill()
            raise
        finally:
            self.has_begun = talk.started_at is not None
            close_inputs(inputs)
        sent = len(spec.code.encode("utf-8", "surrogatepass")) + sum(item.size for item in inputs)
        return replace(result, usage=replace(result.usage, bytes_in=sent, bytes_out=_size(result)))

    async def kill(self) -> Fate:
        """End it; when this returns nothing of it is left. May be called again."""
        self._is_over = True
        return await self._link.kill()

    async def _greet(self, first: TaskSpec | None) -> None:
        room = {
            **self._head,
            "layers": list(self._room.sites),
            "imports": list(self._room.imports),
            "relay": self._room.egress is not None,
            "is_session": False,
        }
        async with asyncio.timeout(READY_SECONDS):
            said = task_message(first, []) if first else b""
            await self._link.send(frames.message(room) + said)
            ready = await frames.expect(self._link.reader, self._room.limits, frames.READY)
        self._first = first
        self.python = ready.decode(errors="replace")
        self._is_ready = True

    async def _run(self, talk: Conversation, stop: Stop, inputs: list[OpenInput]) -> TaskResult:
        holding = asyncio.create_task(talk.hold(inputs))
        either: list[asyncio.Future[Any]] = [holding, stop.asked]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            holding.cancel()
            await asyncio.wait([holding])
        try:
            told = holding.result()
        except asyncio.CancelledError:
            return await self._cut(talk, stop.asked.result(), "it did not answer in time")
        except FrameError as error:
            return await self._cut(talk, "infra_error", f"bad report: {error}")
        except (EOFError, OSError):
            # A runner that got as far as user code can only have been killed by it.
            status: Status = "infra_error" if talk.started_at is None else "killed"
            return await self._cut(talk, status, "it ended without a report")
        return await self._reported(talk, told)

    async def _reported(self, talk: Conversation, told: Told) -> TaskResult:
        report, files = told
        status = report.status
        if not talk.is_going_on:
            self._is_over = True
        # Only the outside knows why a process was killed.
        if status == "killed" and (await self.kill()).is_oom:
            status = "oom"
        if talk.heed.is_truncated:
            status = "output_limit"
            await self.kill()
        result = _result(talk, status)
        names = {file.name for file in files}
        shown = tuple(name for name in talk.heed.pictures if name in names)
        return replace(
            result, exit_code=report.exit_code, files=files, dropped=report.dropped,
            plots=shown, usage=report.usage,
        )  # fmt: skip

    async def _cut(self, talk: Conversation, status: Status, why: str) -> TaskResult:
        fate = await self.kill()
        if fate.outage and status == "killed":
            status, why = "infra_error", fate.outage
        if talk.heed.is_truncated and status != "infra_error":
            status = "output_limit"
        elif status == "killed" and fate.is_oom:
            status = "oom"
        result = replace(_result(talk, status), usage=_usage(talk, fate))
        if status == "infra_error":
            note = f"{result.stderr.rstrip()}\nsandbox: {talk.fault or why}\n".lstrip()
            result = replace(result, stderr=note)
        return result


def _result(talk: Conversation, status: Status) -> TaskResult:
    heed = talk.heed
    return TaskResult(
        status=status, stdout=heed.stdout.text(), stderr=heed.stderr.text(),
        is_stdout_truncated=heed.stdout.is_truncated, is_stderr_truncated=heed.stderr.is_truncated,
        value=heed.value,
    )  # fmt: skip


def _usage(talk: Conversation, fate: Fate) -> Usage:
    if talk.started_at is None:
        return Usage()
    cpu = max(fate.usage.cpu_s - talk.cpu_before, 0.0)
    return replace(fate.usage, cpu_s=cpu, wall_s=time.monotonic() - talk.started_at)


def _size(result: TaskResult) -> int:
    printed = len(result.stdout.encode()) + len(result.stderr.encode())
    return printed + sum(file.size for file in result.files)
