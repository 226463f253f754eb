"""The executor over any backend of this machine: who runs what, on which worker, warm or cold.

A task takes a waiting worker whose room is the one it would have been given; where there is none,
it starts its own. Either is killed after it. Nothing here knows how a sandbox is made.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine
from dataclasses import replace
from typing import Any, TypeVar

from app.kernel.clock import Clock, SystemClock
from app.kernel.metrics import Metrics
from app.sandbox.executors.housed import Heard, Housed
from app.sandbox.executors.rooms import NEW_FOLDER, Options, Rooms
from app.sandbox.executors.worker import Stop, Worker
from app.sandbox.furnishing import Egress, Layers, Say
from app.sandbox.links import Backend, Room
from app.sandbox.pool import Pool
from app.sandbox.sessions import Session, Sessions, Terms
from app.sandbox.types import (
    Capabilities,
    Ended,
    Event,
    Printed,
    Status,
    TaskResult,
    TaskSpec,
)

_log = logging.getLogger(__name__)

_TEND_S = 5.0
# What ends a session with the task; of an `oom` the interpreter may have survived.
_DEADLY: frozenset[Status] = frozenset({"timeout", "killed", "output_limit", "infra_error"})

T = TypeVar("T")


class _StoppedError(Exception):
    def __init__(self, status: Status) -> None:
        super().__init__(status)
        self.status: Status = status


class PooledExecutor:
    """Runs tasks in sandboxes of one backend."""

    def __init__(
        self,
        backend: Backend,
        options: Options | None = None,
        *,
        layers: Layers | None = None,
        egress: Egress | None = None,
        clock: Clock | None = None,
        metrics: Metrics | None = None,
    ) -> None:
        self.name = backend.name
        self._backend = backend
        options, clock = options or Options(), clock or SystemClock()
        self._rooms = Rooms(options, layers, egress)
        self._layers, self._egress = layers, egress
        if layers is not None:
            layers.build_with(self.run)
        self._pool: Pool[Housed] = Pool(
            self._start, self._image, options.pool, clock, metrics or Metrics()
        )
        self._sessions: Sessions[Housed] = Sessions(options.sessions, clock, _kill)
        self._running: dict[asyncio.Task[TaskResult], Stop] = {}
        self._endings: set[asyncio.Task[None]] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._is_closing = False

    async def capabilities(self) -> Capabilities:
        """See Executor.capabilities."""
        return await self._backend.capabilities()

    async def warm(self) -> None:
        """Begin to keep workers waiting. Raises IsolationError where there can be none."""
        self._pool.open(self._rooms.standing(await self._backend.capabilities()))

    @property
    def pool(self) -> Pool[Housed]:
        """The workers that wait."""
        return self._pool

    async def run(self, spec: TaskSpec) -> TaskResult:
        """See Executor.run."""
        return await self._guarded(spec, None)

    async def stream(self, spec: TaskSpec) -> AsyncIterator[Event]:
        """See Executor.stream. What a task can print is capped, and so is the queue by that."""
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        running = asyncio.create_task(self._guarded(spec, events.put_nowait))
        running.add_done_callback(lambda _: events.put_nowait(None))
        try:
            while (event := await events.get()) is not None:
                yield event
            yield Ended(await running)
        finally:
            running.cancel()
            await asyncio.wait([running])
            if not running.cancelled():
                running.exception()  # seen, so that nothing complains of it

    async def cancel(self, task_id: str) -> None:
        """See Executor.cancel."""
        for stop in self._running.values():
            if stop.task_id == task_id:
                stop.set("killed")

    async def close(self) -> None:
        """See Executor.close. A task that comes meanwhile is killed too, or it would hold it up."""
        self._is_closing = True
        try:
            await self._close()
        finally:
            self._is_closing = False

    async def _close(self) -> None:
        for stop in self._running.values():
            stop.set("killed")
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.wait([self._keeper])
            self._keeper = None
        if self._layers is not None:
            await self._layers.close()
        if self._running:
            await asyncio.wait(self._running)
        await self._sessions.close()
        await self._pool.close()
        await self._quiet()
        await self._backend.close()

    async def settle(self) -> None:
        """Wait until nothing of ended tasks is left and the pool is as full as it is to be."""
        await self._quiet()
        await self._pool.settle()

    async def _quiet(self) -> None:
        while self._endings:
            await asyncio.wait(self._endings)

    async def _guarded(self, spec: TaskSpec, heard: Heard) -> TaskResult:
        """Run to the end, come what may: a start that is cut off halfway leaves an orphan."""
        stop = Stop(spec.task_id)
        if self._is_closing:
            stop.set("killed")
        task = asyncio.create_task(self._outcome(spec, heard, stop))
        self._running[task] = stop
        task.add_done_callback(self._running.pop)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            stop.set("killed")
            await asyncio.wait([task])
            if not task.cancelled():
                task.exception()  # seen, so that nothing complains of it
            raise

    async def _outcome(self, spec: TaskSpec, heard: Heard, stop: Stop) -> TaskResult:
        known = await self._backend.capabilities()
        carry = self._alone if spec.session_id is None else self._in_session
        try:
            result = await carry(spec, known, heard, stop)
        except _StoppedError as stopped:
            result = TaskResult(stopped.status)
        except OSError as error:
            reason = error.strerror or str(error)
            result = TaskResult("infra_error", stderr=f"sandbox: {reason}\n")
        return replace(result, executor=known.executor, level=known.level)

    async def _alone(
        self, spec: TaskSpec, known: Capabilities, heard: Heard, stop: Stop
    ) -> TaskResult:
        worker, result = await self._begun(spec, known, heard, stop)
        self._reap(worker)
        return result

    async def _begun(
        self, spec: TaskSpec, known: Capabilities, heard: Heard, stop: Stop
    ) -> tuple[Housed, TaskResult]:
        """Run on a waiting worker that proves to be alive, or else on one started for this."""
        preparing = self._rooms.extras(spec, known, _saying(heard))
        extras = await _unless_stopped(preparing, stop)
        wanted = self._rooms.shared(spec, known, extras)
        while (worker := self._pool.lease(wanted)) is not None:
            result = await self._tried(worker, spec, heard, stop)
            if worker.has_begun or result.status != "infra_error":
                return worker, replace(result, is_warm=True)
            _log.info("a waiting sandbox had died", extra={"reason": result.stderr[-300:]})
            self._reap(worker)
        worker = await _unless_stopped(self._start(self._rooms.own(spec, extras), spec), stop)
        return worker, await self._tried(worker, spec, heard, stop)

    async def _tried(self, worker: Housed, spec: TaskSpec, heard: Heard, stop: Stop) -> TaskResult:
        try:
            return await worker.run(spec, heard, stop)
        except BaseException:
            self._reap(worker)
            raise

    async def _in_session(
        self, spec: TaskSpec, known: Capabilities, heard: Heard, stop: Stop
    ) -> TaskResult:
        self._keep_watch()
        terms = Terms(frozenset(spec.requirements), spec.egress is not None)
        session = await self._sessions.enter(spec.owner, str(spec.session_id), terms)
        ended: str | None = None
        try:
            if session.worker is None:
                session.worker, result = await self._begun(spec, known, heard, stop)
            else:
                result = replace(await session.worker.run(spec, heard, stop), is_warm=True)
            session.runs += 1
            ended = _deadly(result)
        finally:
            await self._sessions.leave(session, ended or _dead(session))
        return replace(result, session_runs=session.runs)

    async def _start(self, room: Room, first: TaskSpec | None = None) -> Housed:
        """A worker that waits in that room, or has `first`. Raises IsolationError, OSError."""
        folder = None
        if room.egress == NEW_FOLDER and self._egress is not None:
            folder = self._egress.new_folder()
        worker = None
        try:
            room = replace(room, egress=folder)
            head = await self._backend.head()
            worker = Worker(await self._backend.launch(room), room, head)
            # files, and the way out, are opened for a task only when it runs
            is_plain = first is not None and folder is None and not first.input_files
            await worker.start(first if is_plain else None)
        except BaseException:
            if worker is not None:
                await worker.kill()
            if folder is not None and self._egress is not None:
                self._egress.drop_folder(folder)
            raise
        return Housed(worker, folder, self._egress)

    async def _image(self) -> str:
        return (await self._backend.capabilities()).image

    def _reap(self, worker: Housed) -> None:
        """Kill it behind the task's back: its processes are done, to clear away takes longer."""
        self._spawn(_killed(worker))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)

    def _keep_watch(self) -> None:
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._watch(), name="sandbox-sessions")

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_TEND_S)
            await self._sessions.tend()


async def _unless_stopped(work: Coroutine[Any, Any, T], stop: Stop) -> T:
    """The outcome of `work`, which is given up once the task is to stop."""
    task = asyncio.create_task(work)
    either: list[asyncio.Future[Any]] = [task, stop.asked]
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if not task.done():
        task.cancel()
        await asyncio.wait([task])
    if task.cancelled():
        raise _StoppedError(stop.asked.result())
    return task.result()


def _saying(heard: Heard) -> Say | None:
    """Progress of what is made ready first, heard as if the task said it."""
    return None if heard is None else lambda text: heard(Printed("stderr", f"{text}\n"))


async def _kill(worker: Housed) -> None:
    await worker.kill()


async def _killed(worker: Housed) -> None:
    try:
        await worker.kill()
    except Exception:  # noqa: BLE001 - nobody waits for it
        _log.exception("a sandbox could not be put away")


def _deadly(result: TaskResult) -> str | None:
    return f"its last task ended as {result.status}" if result.status in _DEADLY else None


def _dead(session: Session[Housed]) -> str | None:
    """Why the session cannot go on, if so: it never began, or its Python left."""
    if session.worker is None:
        return "it never began"
    return None if session.worker.is_alive else "its Python has ended"
