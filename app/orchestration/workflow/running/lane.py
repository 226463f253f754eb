"""The lane of workflows: many runs in memory, their calls in flight, one writer for all.

A turn is one transaction: it writes the steps that have ended since the last one, ends and parks
runs, and claims the next jobs; while it commits, the calls of other runs go on. A step starts
once everything it follows from is durable, so a killed worker costs the steps in flight at most.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from app.billing import Billing
from app.kernel.clock import Clock, SystemClock
from app.kernel.errors import AppError, Code
from app.kernel.settings import Settings
from app.kernel.uow import Transactions
from app.kernel.wakeups import Ticket, Wakeups
from app.orchestration.dispatch import Dispatcher, PostgresDispatcher
from app.orchestration.lifecycle import JOBS_TOPIC, Lifecycle, jobs_topic
from app.orchestration.retries import buried, delay_of, is_final
from app.orchestration.types import End, Lease
from app.orchestration.usage import is_usage
from app.orchestration.worker import worker_name
from app.orchestration.workflow.runnable import check_supported
from app.orchestration.workflow.running.account import RunAccount, lost
from app.orchestration.workflow.running.calling import Caller, Try
from app.orchestration.workflow.running.calls import Calls, Ending
from app.orchestration.workflow.running.context import StepContext
from app.orchestration.workflow.running.news import ANSWERS_TOPIC, News
from app.orchestration.workflow.running.nodes import NodeRunner
from app.orchestration.workflow.running.pace import Pace
from app.orchestration.workflow.running.records import EndedStep, OpenWait, Park, PutOff, Stored
from app.orchestration.workflow.running.run import Run, Writes
from app.orchestration.workflow.running.writing import KIND, Writer, Written
from app.orchestration.workflow.steps import ReadyStep
from app.orchestration.workflow.validation import Plans
from app.proxy import ToolProxy

_BATCH = 500
_PARALLEL = 8
_CALLS_PER_RUN = 2
# A step at work for so long is told of before it ends.
_TELL_S = 0.25
_log = logging.getLogger(__name__)


class WorkflowLane:
    """Runs jobs of kind `workflow` of any number of users; part of a worker.

    At most `parallel` steps of a run are at work at a time; waits do not count.
    """

    kinds: Sequence[str] = (KIND,)

    def __init__(
        self,
        *,
        transactions: Transactions,
        wakeups: Wakeups,
        lifecycle: Lifecycle,
        billing: Billing,
        proxy: ToolProxy,
        settings: Settings,
        worker: str | None = None,
        runners: Mapping[str, NodeRunner] | None = None,
        dispatcher: Dispatcher | None = None,
        clock: Clock | None = None,
        parallel: int = _PARALLEL,
    ) -> None:
        self._transactions, self._wakeups = transactions, wakeups
        self._billing, self._proxy, self._settings = billing, proxy, settings
        self._clock, self._parallel = clock or SystemClock(), parallel
        self._caller = Caller(proxy, self._clock, runners or {})
        self._writer = Writer(
            transactions,
            wakeups,
            lifecycle,
            billing,
            settings.lease_seconds,
            worker or worker_name(),
        )
        self._dispatcher = dispatcher or PostgresDispatcher()
        self._plans = Plans(also=check_supported)
        self._runs: dict[UUID, Run] = {}
        most = settings.lane_capacity * _CALLS_PER_RUN
        self._calls = Calls(self._make, self._ended, most)
        self._news = News(transactions, wakeups, self._runs, self._answered, settings.poll_seconds)
        # Runs with something to write, and what a failed transaction has left to write.
        self._due: dict[Run, None] = {}
        self._unwritten: list[Writes] = []
        self._has_work = asyncio.Event()
        self._pace = Pace(settings.poll_seconds)

    def held(self) -> dict[UUID, int]:
        """The leases to renew: jobs in memory, by fencing token."""
        return {job_id: run.lease.attempt for job_id, run in self._runs.items()}

    def stop(self, job_id: UUID, *, is_cancelled: bool) -> None:
        """A job's lease is lost, or its owner cancelled it."""
        run = self._runs[job_id]
        if is_cancelled:
            self._close(run, _cancelled(run.lease))
        else:
            self._forget(run)

    async def run(self) -> None:
        """Work until cancelled; then give the leases of unfinished runs back."""
        news = asyncio.create_task(self._news.run(), name="workflow-news")
        ticket = self._wakeups.ticket(JOBS_TOPIC, jobs_topic(KIND))
        try:
            while True:
                if not await self._turn():
                    await self._wait(ticket)
                if ticket.event.is_set():
                    self._pace.call()
                ticket = self._wakeups.ticket(JOBS_TOPIC, jobs_topic(KIND))
        finally:
            news.cancel()
            await asyncio.gather(news, self._leave(), return_exceptions=True)

    # A turn

    async def _turn(self) -> bool:
        """One transaction; whether there may be more to do at once."""
        loop = asyncio.get_running_loop()
        self._has_work.clear()
        for run, step in self._calls.slow(loop.time() - _TELL_S):
            run.tell_started(step)
            self._mark(run)
        batch = self._unwritten or self._composed()
        room = self._room(loop.time())
        ids = self._dispatcher.take(KIND, room) if room else None
        if ids is not None and not ids:
            self._looked(has_found=False)
            room = 0
        if not batch and not room:
            return False
        try:
            written = await self._writer.write(batch, room, ids)
        except AppError as error:
            _log.warning("cannot write steps or claim jobs", extra={"reason": error.message})
            self._unwritten = batch
            self._pace.rest(loop.time())
            return False
        except Exception:  # noqa: BLE001 - nobody watches this task, it must not end
            _log.exception("cannot write steps or claim jobs")
            await self._write_singly(batch)
            written = Written()
        self._unwritten = []
        self._settle(batch, written)
        if room:
            self._dispatcher.done(ids or ())
            # Where others had all of `ids`, the dispatcher may hold more, and wakes nobody again.
            self._looked(has_found=bool(written.leases or ids))
            for lease in written.leases:
                self._begin(lease, written.stored.get(lease.job_id))
        return bool(self._due or written.leases or ids)

    def _composed(self) -> list[Writes]:
        """What runs have to write; those that have nothing go on at once."""
        batch = self._compose()
        self._settle([one for one in batch if one.is_empty], Written())
        return [one for one in batch if not one.is_empty]

    def _compose(self) -> list[Writes]:
        now, at = self._clock.now(), asyncio.get_running_loop().time()
        batch = []
        for run in list(self._due)[:_BATCH]:
            del self._due[run]
            if run.is_over:
                continue
            try:
                batch.append(run.compose(now, at, self._parallel))
            except Exception as error:  # noqa: BLE001 - a fault here must not stop other runs
                self._fail(run, error)
        return batch

    def _room(self, at: float) -> int:
        if at < self._pace.next_at:
            return 0
        return max(0, min(self._settings.lane_capacity - len(self._runs), _BATCH))

    def _looked(self, *, has_found: bool) -> None:
        self._pace.looked(asyncio.get_running_loop().time(), has_found=has_found)

    def _settle(self, batch: Sequence[Writes], written: Written) -> None:
        """What was written is durable: start what follows from it."""
        for one in batch:
            run = one.run
            if run.is_over:
                continue
            if run.lease.job_id in written.lost:
                self._forget(run)
                continue
            for told in one.told:
                if not told.done():
                    told.set_result(None)
            if one.is_last:
                self._forget(run)
            elif not run.is_stopping:
                self._set_timers(run, one.pauses)
                self._calls.start(run, one.work)

    async def _write_singly(self, batch: list[Writes]) -> None:
        """One value that the database does not take must not hold up the runs of others."""
        for one in batch:
            try:
                self._settle([one], await self._writer.write([one]))
            except AppError:
                self._forget(one.run)
            except Exception:  # noqa: BLE001 - the database refused the values
                _log.exception("result refused", extra={"job": str(one.run.lease.job_id)})
                self._refuse(one.run)

    def _refuse(self, run: Run) -> None:
        if isinstance(run.closing, End):
            self._forget(run)
            return
        error = AppError(Code.TOOL_PROTOCOL_ERROR, "A result has a value that cannot be stored.")
        self._close(run, End(run.lease, "Failed", error=error.as_dict()))

    async def _wait(self, ticket: Ticket) -> None:
        """Until there is something to write or to claim, or to be told."""
        loop = asyncio.get_running_loop()
        until = self._pace.next_at
        if len(self._runs) >= self._settings.lane_capacity:
            until = loop.time() + self._settings.poll_seconds
        if (oldest := self._calls.oldest_unseen()) is not None:
            until = min(until, oldest + _TELL_S)
        waiting = [asyncio.create_task(self._has_work.wait())]
        if not self._pace.is_called:
            waiting.append(asyncio.create_task(ticket.event.wait()))
        try:
            await asyncio.wait(
                waiting, timeout=max(0.0, until - loop.time()), return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            for task in waiting:
                task.cancel()

    # Runs

    def _begin(self, lease: Lease, stored: Stored | None) -> None:
        if (earlier := self._runs.get(lease.job_id)) is not None:
            # Its lease ran out here before it was renewed.
            self._forget(earlier)
        run = Run(lease)
        self._runs[lease.job_id] = run
        if lease.is_cancel_requested:
            run.closing = _cancelled(lease)
        elif lease.failures >= self._settings.max_attempts:
            cause = AppError(Code.LEASE_LOST, "Its workers died while they ran it.")
            run.closing = self._dead(lease, cause)
        else:
            self._plan(run, stored)
        self._mark(run)

    def _plan(self, run: Run, stored: Stored | None) -> None:
        lease = run.lease
        try:
            run.plan = self._plans.get(lease.job.definition.get("definition") or {})
        except AppError as error:
            run.closing = End(lease, "Failed", error=error.as_dict())
            return
        if is_usage(lease.job):
            run.account = RunAccount(self._transactions, self._billing, lease, run.principal)
        if stored is not None:
            run.resume(stored, self._clock.now(), asyncio.get_running_loop().time())

    async def _make(self, run: Run, step: ReadyStep) -> EndedStep | PutOff:
        context = None
        if step.kind == "agent":
            context = StepContext(run, step.path, self._transactions, self._proxy, self._emit)
        attempt = run.failures.get(step.path, 0) + 1
        one = Try(
            run.lease.job,
            run.principal,
            step,
            attempt,
            run.started[step.path],
            context,
            run.account,
        )
        return await self._caller.make(one)

    def _ended(self, run: Run, ending: Ending) -> None:
        if isinstance(ending, EndedStep):
            run.end_step(ending)
        elif isinstance(ending, PutOff):
            run.put_off(ending, asyncio.get_running_loop().time())
        else:
            self._fail(run, ending)
            return
        self._mark(run)

    def _answered(self, run: Run, wait: OpenWait) -> None:
        run.end_wait(wait, self._clock.now())
        self._mark(run)

    def _set_timers(self, run: Run, pauses: Sequence[tuple[str, float]]) -> None:
        loop = asyncio.get_running_loop()
        for path, delay_s in pauses:
            run.timers[path] = loop.call_later(delay_s, self._time_up, run, path)

    def _time_up(self, run: Run, path: str) -> None:
        run.timers.pop(path, None)
        if run.is_stopping:
            return
        if path in run.questions:
            # Only the database knows whether an answer came before.
            self._wakeups.wake(ANSWERS_TOPIC, is_local=True)
            return
        run.time_up(path, self._clock.now())
        self._mark(run)

    def _emit(
        self, run: Run, kind: str, data: Mapping[str, Any], once: str | None
    ) -> asyncio.Future[None]:
        if run.is_stopping:
            raise lost(run.lease)
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        run.told.append((kind, data, once, told))
        self._mark(run)
        return told

    # Ends

    def _fail(self, run: Run, error: Exception) -> None:
        """A fault that is no result of a step: the job is tried again, unless that is in vain."""
        reason = _reason(error)
        lease = run.lease
        if reason.code is Code.LEASE_LOST:
            self._forget(run)
            return
        _log.warning(
            "run failed",
            extra={"job": str(lease.job_id), "code": reason.code},
            exc_info=None if isinstance(error, AppError) else error,
        )
        if isinstance(error, AppError) and is_final(error):
            self._close(run, End(lease, "Failed", error=error.as_dict()))
        elif lease.failures + 1 >= self._settings.max_attempts:
            self._close(run, self._dead(lease, reason))
        else:
            delay_s = delay_of(lease.failures, self._settings.backoff_seconds)
            data = {"attempt": lease.attempt, "delay_s": round(delay_s, 3)}
            run.told.append(("job.retrying", {**data, "error": reason.as_dict()}, None, None))
            self._close(run, Park(delay_s, is_failure=True))

    def _dead(self, lease: Lease, cause: AppError) -> End:
        error = buried(self._settings.max_attempts, cause)
        return End(lease, "Dead", error=error.as_dict())

    def _close(self, run: Run, how: End | Park) -> None:
        """Stop a run; `how` it ends is written with what has ended."""
        if not run.is_stopping:
            run.closing = how
            run.stop()
            self._mark(run)

    def _forget(self, run: Run) -> None:
        """The run is over, given up, or lost to another worker."""
        run.is_over = True
        run.stop()
        if self._runs.get(run.lease.job_id) is run:
            del self._runs[run.lease.job_id]

    def _mark(self, run: Run) -> None:
        self._due[run] = None
        self._has_work.set()

    async def _leave(self) -> None:
        """Write what has ended and give every lease back."""
        for run in list(self._runs.values()):
            self._close(run, Park(0.0))
        await self._calls.close()
        batch = self._unwritten
        while self._due:
            batch = [*batch, *self._compose()]
        try:
            await self._writer.write(batch)
        except AppError as error:
            _log.warning("leases run out by themselves", extra={"reason": error.message})


def _reason(error: Exception) -> AppError:
    if isinstance(error, AppError):
        return error
    return AppError(Code.INTERNAL, f"The run failed: {type(error).__name__}.")


def _cancelled(lease: Lease) -> End:
    error = AppError(Code.JOB_CANCELLED, "The job was cancelled by its owner.")
    return End(lease, "Cancelled", error=error.as_dict())
