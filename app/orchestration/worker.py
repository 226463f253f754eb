"""The worker: claims jobs under a lease, renews it while they run, and ends each one once."""

import asyncio
import contextlib
import logging
import os
import socket
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from app.billing import Billing
from app.kernel.clock import loop_time
from app.kernel.errors import AppError, Code
from app.kernel.metrics import Metrics
from app.kernel.principal import SERVICE
from app.kernel.settings import Settings
from app.kernel.uow import Transactions
from app.kernel.wakeups import Wakeups
from app.kernel.whole import whole
from app.orchestration import store
from app.orchestration.context import RunContext
from app.orchestration.dispatch import Dispatcher, DispatchState, PostgresDispatcher
from app.orchestration.lane import FastLane
from app.orchestration.lifecycle import CANCELS_TOPIC, JOBS_TOPIC, Lifecycle, jobs_topic
from app.orchestration.retries import buried, delay_of, is_final
from app.orchestration.stager import Stager
from app.orchestration.types import JobHandler, Lease, Outcome
from app.proxy import ToolProxy

_CANCELS_S = 0.1
_log = logging.getLogger(__name__)


class Lane(Protocol):
    """Claims and runs jobs of some kinds by itself; the worker renews its leases."""

    async def run(self) -> None:
        """Work until cancelled; then give unfinished jobs back."""

    def held(self) -> Mapping[UUID, int]:
        """The leases to renew: jobs by fencing token."""

    def stop(self, job_id: UUID, *, is_cancelled: bool) -> None:
        """A held job's lease is lost, or its owner cancelled it."""


def worker_name() -> str:
    """How this process signs its leases."""
    return f"{socket.gethostname()}:{os.getpid()}"


@dataclass(slots=True)
class _Run:
    lease: Lease
    context: RunContext
    task: asyncio.Task[None]
    is_stopping: bool = False

    def stop(self) -> None:
        """Cancel the run, once: a second cancel would break off the end that the first began."""
        if not self.is_stopping:
            self.is_stopping = True
            self.task.cancel()


def _reason(error: Exception) -> AppError:
    if isinstance(error, AppError):
        return error
    return AppError(Code.INTERNAL, f"The run failed: {type(error).__name__}.")


class Worker:
    """Runs jobs until told to stop. Any number of workers may share a database."""

    def __init__(
        self,
        *,
        transactions: Transactions,
        wakeups: Wakeups,
        lifecycle: Lifecycle,
        billing: Billing,
        proxy: ToolProxy,
        handlers: Mapping[str, JobHandler],
        settings: Settings,
        metrics: Metrics,
        lanes: Sequence[Lane] = (),
        dispatcher: Dispatcher | None = None,
    ) -> None:
        self._transactions = transactions
        self._wakeups = wakeups
        self._lifecycle = lifecycle
        self._billing = billing
        self._proxy = proxy
        self._handlers = handlers
        self._settings = settings
        self._metrics = metrics
        # By job and attempt: a worker may lease a job again while its lost run still ends.
        self._runs: dict[tuple[UUID, int], _Run] = {}
        self._name = worker_name()
        self._dispatcher = dispatcher or PostgresDispatcher()
        self.is_ready = False
        fast = FastLane(
            transactions=transactions,
            wakeups=wakeups,
            lifecycle=lifecycle,
            proxy=proxy,
            settings=settings,
            worker=self._name,
            dispatcher=self._dispatcher,
        )
        self._lanes: Sequence[Lane] = (fast, *lanes)
        self._stager = Stager(transactions, wakeups, settings.poll_seconds)

    def dispatch(self) -> DispatchState:
        """How jobs reach this worker."""
        return self._dispatcher.state()

    async def run(self) -> None:
        """Work until cancelled; then stop the running jobs and give their leases back."""
        tasks = [
            asyncio.create_task(self._keep_up(part), name="worker")
            for part in (
                self._heartbeat,
                self._stager.run,
                self._dispatcher.run,
                *(lane.run for lane in self._lanes),
            )
        ]
        try:
            while True:
                ticket = self._wakeups.ticket(JOBS_TOPIC, *map(jobs_topic, self._handlers))
                if not await whole(self._claim()):
                    await self._wakeups.wait(ticket, self._settings.poll_seconds)
        finally:
            self.is_ready = False
            for task in tasks:
                task.cancel()
            await self._stop_runs()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep_up(self, part: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run a part; one that fails begins again, or its jobs would wait for ever in silence."""
        while True:
            try:
                await part()
            except Exception:  # noqa: BLE001 - whatever it is, the other parts go on
                _log.exception("a part of the worker failed and begins again")
                await asyncio.sleep(self._settings.poll_seconds)
            else:
                return

    async def _claim(self) -> bool:
        """Claim and start jobs; whether there may be more at once."""
        free = self._settings.worker_concurrency - len(self._runs)
        if free <= 0:
            return False
        try:
            leases, looked_for = await self._claim_each(free)
        except AppError as error:
            _log.warning("cannot claim jobs", extra={"reason": error.message})
            return False
        except Exception:  # noqa: BLE001 - nobody watches this task, it must not end
            _log.exception("cannot claim jobs")
            return False
        self.is_ready = True
        for lease in leases:
            self._start(lease)
        return bool(leases or looked_for)

    async def _claim_each(self, free: int) -> tuple[list[Lease], list[UUID]]:
        """The leases, and the jobs that the dispatcher named and that were looked for."""
        leases: list[Lease] = []
        looked_for: list[UUID] = []
        told = {kind: self._dispatcher.take(kind, free) for kind in self._handlers}
        asked = {kind: ids for kind, ids in told.items() if ids is None or ids}
        if not asked:
            return leases, looked_for
        lease_s = self._settings.lease_seconds
        async with self._transactions.begin(SERVICE) as uow:
            for kind, ids in asked.items():
                if (room := free - len(leases)) > 0:
                    leases += await store.claim(uow, kind, room, lease_s, self._name, ids=ids)
                    looked_for += ids or ()
        self._dispatcher.done(looked_for)
        return leases, looked_for

    def _start(self, lease: Lease) -> None:
        context = RunContext(lease, self._transactions, self._lifecycle, self._proxy, self._billing)
        for run in self._runs.values():
            if run.lease.job_id == lease.job_id:
                run.stop()
        task = asyncio.create_task(self._guard(lease, context), name=f"job-{lease.job_id}")
        self._runs[lease.job_id, lease.attempt] = _Run(lease, context, task)

    async def _guard(self, lease: Lease, context: RunContext) -> None:
        try:
            began = time.perf_counter()
            status = await self._run_one(lease, context)
            self._metrics.observe_job(status, time.perf_counter() - began)
        except asyncio.CancelledError:
            with contextlib.suppress(AppError):
                await self._stopped(lease, context)
        except AppError as error:
            # The lease is lost or the database is away: whoever leases the job next goes on.
            _log.warning("run abandoned", extra={"job": str(lease.job_id), "code": error.code})
        except Exception:  # noqa: BLE001 - the lease runs out and the job is claimed again
            _log.exception("run abandoned", extra={"job": str(lease.job_id)})
        finally:
            self._runs.pop((lease.job_id, lease.attempt), None)
            self._wakeups.wake(JOBS_TOPIC)

    async def _run_one(self, lease: Lease, context: RunContext) -> str:
        if lease.is_cancel_requested:
            return await self._cancel(lease)
        if lease.failures >= self._settings.max_attempts:
            return await self._bury(
                lease, AppError(Code.LEASE_LOST, "Its workers died while they ran it.")
            )
        await context.emit("job.started", {"attempt": lease.attempt, "worker": self._name})
        try:
            outcome = await self._handlers[lease.job.kind].run(context)
        except Exception as error:  # noqa: BLE001 - the border of foreign code
            return await self._failed(lease, error)
        try:
            return await self._finish(lease, outcome)
        except AppError:
            raise
        except Exception as error:  # noqa: BLE001 - an output that the database does not take
            return await self._failed(lease, error)

    async def _failed(self, lease: Lease, error: Exception) -> str:
        reason = _reason(error)
        if reason.code is Code.LEASE_LOST:
            raise reason
        if isinstance(error, AppError) and is_final(error):
            return await self._finish(lease, Outcome(False, {}, error))
        _log.warning(
            "run failed",
            extra={"job": str(lease.job_id), "code": reason.code},
            exc_info=None if isinstance(error, AppError) else error,
        )
        if lease.failures + 1 >= self._settings.max_attempts:
            return await self._bury(lease, reason)
        delay = delay_of(lease.failures, self._settings.backoff_seconds)
        async with self._transactions.begin(SERVICE) as uow:
            await self._lifecycle.retry(uow, lease, reason, delay)
        return "Retrying"

    async def _finish(self, lease: Lease, outcome: Outcome) -> str:
        async with self._transactions.begin(SERVICE) as uow:
            await self._lifecycle.finish(uow, lease, outcome)
        if outcome.is_success:
            self._metrics.observe_capture(lease.job.price_micro)
        return "Success" if outcome.is_success else "Failed"

    async def _bury(self, lease: Lease, cause: AppError) -> str:
        error = buried(self._settings.max_attempts, cause)
        async with self._transactions.begin(SERVICE) as uow:
            await self._lifecycle.bury(uow, lease, error)
        return "Dead"

    async def _cancel(self, lease: Lease) -> str:
        async with self._transactions.begin(SERVICE) as uow:
            await self._lifecycle.cancel(uow, lease)
        return "Cancelled"

    async def _stopped(self, lease: Lease, context: RunContext) -> None:
        if context.is_cancelled():
            await self._cancel(lease)
            return
        async with self._transactions.begin(SERVICE) as uow:
            await store.give_back(uow, lease.job_id, lease.attempt, delay_s=0, is_failure=False)

    async def _heartbeat(self) -> None:
        renew_at = 0.0
        while True:
            ticket = self._wakeups.ticket(CANCELS_TOPIC)
            is_due = loop_time() >= renew_at
            if is_due:
                renew_at = loop_time() + self._settings.lease_seconds / 3
            await self._look_after(is_due=is_due)
            # Many cancels at once are looked for together.
            await asyncio.sleep(min(_CANCELS_S, self._settings.lease_seconds / 10))
            await self._wakeups.wait(ticket, max(renew_at - loop_time(), 0.0))

    async def _look_after(self, *, is_due: bool) -> None:
        """Stop runs whose owners cancelled them; when due, renew the leases and stop the lost."""
        lanes = [(lane, lane.held()) for lane in self._lanes]
        held = {run.lease.job_id: run.lease.attempt for run in self._runs.values()}
        for _, theirs in lanes:
            held |= theirs
        if (alive := await self._looked_up(held, is_due=is_due)) is None:
            return
        for lane, theirs in lanes:
            # By token: a lane may have leased a job anew while its old lease was looked for.
            for job_id, _ in theirs.items() & lane.held().items():
                if alive.get(job_id, True):
                    self._metrics.observe_stop(is_lost=job_id not in alive)
                    lane.stop(job_id, is_cancelled=job_id in alive)
        for key in held.items():
            if alive.get(key[0], True):
                self._stop_run(key, is_cancelled=key[0] in alive)

    def _stop_run(self, key: tuple[UUID, int], *, is_cancelled: bool) -> None:
        if (run := self._runs.get(key)) is not None:
            self._metrics.observe_stop(is_lost=not is_cancelled)
            if is_cancelled:
                run.context.cancel()
            run.stop()

    async def _looked_up(
        self, held: Mapping[UUID, int], *, is_due: bool
    ) -> dict[UUID, bool] | None:
        """The leases that are still ours, and if a cancel was asked for; None if not known."""
        try:
            async with self._transactions.begin(SERVICE) as uow:
                if not is_due:
                    wanted = await store.cancelled(uow, held)
                    return {job_id: job_id in wanted for job_id in held}
                self._metrics.observe_queue(*await store.queue_depth(uow))
                return await store.renew(uow, held, self._settings.lease_seconds) if held else {}
        except AppError as error:
            _log.warning("cannot renew leases", extra={"reason": error.message})
        except Exception:  # noqa: BLE001 - nobody watches this task, it must not end
            _log.exception("cannot renew leases")
        return None

    async def _stop_runs(self) -> None:
        runs = list(self._runs.values())
        for run in runs:
            run.stop()
        await asyncio.gather(*(run.task for run in runs), return_exceptions=True)
