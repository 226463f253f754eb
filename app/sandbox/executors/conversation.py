"""What is said over one task: its frame, what comes back while it runs, and its report.

It keeps the deadlines and caps by setting the task's `Stop`; whoever waits for that ends the
sandbox. Nothing is believed beyond its cap.
"""

import asyncio
import codecs
import contextlib
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

from app.sandbox.executors import frames
from app.sandbox.executors.frames import FrameError, Report
from app.sandbox.executors.inputs import InputChangedError, OpenInput, contents
from app.sandbox.links import Link
from app.sandbox.types import Event, Limits, OutputFile, Printed, Shown, Status, TaskSpec

START_SECONDS = 30.0
COLLECT_SECONDS = 60.0
_BYTES_PER_SECOND = 2**24  # files may take longer, but not for ever

Heard = Callable[[Event], None]


class Stop:
    """How a run is ended from outside; it can be asked for before the task has started."""

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        self.asked: asyncio.Future[Status] = asyncio.get_running_loop().create_future()

    def set(self, status: Status) -> None:
        """End the run with `status`; the first reason given counts."""
        if not self.asked.done():
            self.asked.set_result(status)


class Stream:
    """Output up to a cap, as bytes and, as it comes, as text."""

    def __init__(self, name: Literal["stdout", "stderr"], cap: int) -> None:
        self.name = name
        self.data = bytearray()
        self.is_truncated = False
        self._cap = cap
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, chunk: bytes) -> Printed:
        """Keep what fits; the text of that."""
        kept = chunk[: self._cap - len(self.data)]
        self.data += kept
        self.is_truncated = self.is_truncated or len(kept) < len(chunk)
        return Printed(self.name, self._decoder.decode(kept))

    def text(self) -> str:
        """All of it; bytes that are no UTF-8 become replacement characters."""
        return self.data.decode(errors="replace")


@dataclass
class Heed:
    """What has come of a task so far."""

    limits: Limits
    stop: Stop
    heard: Heard | None
    value: str | None = None
    pictures: dict[str, OutputFile] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.stdout = Stream("stdout", self.limits.stdout_bytes)
        self.stderr = Stream("stderr", self.limits.stdout_bytes)
        self._picture_count = self._picture_bytes = 0

    @property
    def is_truncated(self) -> bool:
        """Whether there was more output than allowed."""
        return self.stdout.is_truncated or self.stderr.is_truncated

    def take(self, kind: bytes, payload: bytes) -> None:
        """One frame of running code. Raises FrameError for any that does not belong there."""
        if kind in (frames.STDOUT, frames.STDERR):
            stream = self.stdout if kind == frames.STDOUT else self.stderr
            printed = stream.add(payload)
            if printed.text:
                self._tell(printed)
            if stream.is_truncated:
                self.stop.set("output_limit")
        elif kind == frames.VALUE:
            self.value = payload.decode(errors="replace")
        elif kind == frames.PICTURE:
            self._show(frames.read_picture(payload))
        else:
            raise FrameError(f"{kind!r} while code runs")

    def _show(self, picture: OutputFile) -> None:
        self._picture_count += 1
        self._picture_bytes += picture.size
        is_too_much = self._picture_bytes > self.limits.output_bytes
        if is_too_much or self._picture_count > self.limits.files:
            raise FrameError("more pictures than allowed")
        self.pictures[picture.name] = picture
        self._tell(Shown(picture))

    def _tell(self, event: Event) -> None:
        if self.heard is not None:
            self.heard(event)


class Conversation:
    """One task over one link; `hold` it once."""

    def __init__(
        self, link: Link, spec: TaskSpec, stop: Stop, heard: Heard | None, *, is_said: bool = False
    ) -> None:
        """`is_said` is whether the runner has been told the task already."""
        self.heed = Heed(spec.limits, stop, heard)
        self.started_at: float | None = None
        self.is_going_on = False
        self.fault = ""
        self.cpu_before = 0.0
        self._link, self._spec, self._stop = link, spec, stop
        self._is_said = is_said
        self._timer: asyncio.TimerHandle | None = None

    async def hold(self, inputs: list[OpenInput]) -> tuple[Report, tuple[OutputFile, ...]]:
        """Say the task and follow it to its last file.

        Raises FrameError for nonsense, asyncio.IncompleteReadError or OSError where the runner
        goes, and is to be cancelled once the task's `Stop` is set.
        """
        feeding = asyncio.create_task(self._feed(inputs))
        try:
            await self._follow(sum(item.size for item in inputs))
            return await self._collect()
        finally:
            self._end_limit()
            feeding.cancel()
            await asyncio.wait([feeding])

    async def _follow(self, size: int) -> None:
        reader, limits = self._link.reader, self._spec.limits
        self._limit_to(START_SECONDS + size / _BYTES_PER_SECOND, "infra_error")
        spent = await frames.expect(reader, limits, frames.STARTED)
        self.started_at = time.monotonic()
        self._limit_to(limits.wall_s, "timeout")
        with contextlib.suppress(ValueError):
            self.cpu_before = float(spent)
        while True:
            kind, payload = await frames.read_frame(reader, limits)
            if kind == frames.ENDED:
                break
            self.heed.take(kind, payload)
        # The runner works on what the task left: to have left too much is the task's doing.
        self._limit_to(COLLECT_SECONDS, "timeout")
        self.is_going_on = payload == frames.GOES_ON and self._spec.session_id is not None

    async def _collect(self) -> tuple[Report, tuple[OutputFile, ...]]:
        reader, limits = self._link.reader, self._spec.limits
        nonce = secrets.token_bytes(frames.NONCE_BYTES)
        await self._link.send(nonce)
        payload = await frames.expect(reader, limits, frames.REPORT)
        report = frames.read_report(payload, nonce, limits)
        return report, await frames.read_files(reader, report, limits)

    async def _feed(self, inputs: list[OpenInput]) -> None:
        try:
            if not self._is_said:
                await self._link.send(task_message(self._spec, inputs))
            async for chunk in contents(inputs):
                await self._link.send(chunk)
        except InputChangedError as error:
            self.fault = str(error)
            self._stop.set("infra_error")
        except OSError:
            return  # a runner that has gone is its own news

    def _limit_to(self, seconds: float, late: Status) -> None:
        self._end_limit()
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(seconds, self._stop.set, late)

    def _end_limit(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


def task_message(spec: TaskSpec, inputs: Sequence[OpenInput]) -> bytes:
    """What the runner is told of a task; the bytes of its input files come after it."""
    limits = asdict(spec.limits)
    names = ("cpu_s", "memory_bytes", "processes", "tmp_bytes", "output_bytes")
    task = {
        **{name: limits[name] for name in names},
        "max_files": spec.limits.files,
        "code": spec.code,
        "files": [(item.name, item.size) for item in inputs],
        "is_session": spec.session_id is not None,
        "egress": spec.egress is not None,
    }
    return frames.message(task)
