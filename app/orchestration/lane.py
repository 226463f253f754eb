"""The fast lane: jobs that are a single tool call, claimed and ended in batches.

One transaction ends what has finished and claims what comes next. Where there is much to do two
take turns: while the database works for one, the calls of the other run. Such a job has no trace
of its own beyond its row, and pays for none.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

from app.kernel.clock import loop_time
from app.kernel.errors import AppError, Code
from app.kernel.principal import SERVICE, Principal, Scope
from app.kernel.settings import Settings
from app.kernel.uow import Transactions, UnitOfWork
from app.kernel.wakeups import Ticket, Wakeups
from app.kernel.whole import whole
from app.orchestration import store
from app.orchestration.dispatch import Dispatcher
from app.orchestration.floor import Floor
from app.orchestration.lifecycle import DUE_TOPIC, JOBS_TOPIC, Lifecycle, jobs_topic
from app.orchestration.metering import usage_of
from app.orchestration.retries import buried, delay_of, is_final
from app.orchestration.types import End, Lease
from app.proxy import ToolCall, ToolProxy, ToolResult

KIND = "tool"
_BATCH = 500
# Half as much as this in one transaction, and a second one would find nothing to do.
_MUCH = 100
_SCOPES = frozenset({Scope.TOOLS, Scope.FILES})
_log = logging.getLogger(__name__)


class Want(NamedTuple):
    """How many jobs to claim, and among which; None for whatever is ready."""

    room: int
    ids: Sequence[UUID] | None
    is_alone: bool = False

    @property
    def is_none(self) -> bool:
        """Whether there is nothing to ask the database for."""
        return self.room <= 0 or (self.ids is not None and not self.ids)


_NOTHING = Want(0, ())


class FastLane:
    """Runs single-tool jobs of any number of users; part of a worker."""

    def __init__(
        self,
        *,
        transactions: Transactions,
        wakeups: Wakeups,
        lifecycle: Lifecycle,
        proxy: ToolProxy,
        settings: Settings,
        worker: str,
        dispatcher: Dispatcher,
    ) -> None:
        self._transactions = transactions
        self._wakeups = wakeups
        self._lifecycle = lifecycle
        self._proxy = proxy
        self._settings = settings
        self._worker = worker
        self._dispatcher = dispatcher
        self._running: dict[UUID, tuple[Lease, asyncio.Task[None]]] = {}
        self._ends: deque[End] = deque()
        self._has_news = asyncio.Event()
        self._floor = Floor()
        self._wrote_at = 0.0
        # The database did not answer last time: a sweep that is due waits, too.
        self._is_away = False
        self._is_busy = asyncio.Event()
        # Room that claims on their way may fill, and whether one of them names its jobs.
        self._claiming = 0
        self._is_naming = False
        # Jobs on their last chance after lost leases; while there are any, one runs at a time.
        self._suspects: dict[UUID, None] = {}

    def held(self) -> dict[UUID, int]:
        """The leases to renew: jobs that run or whose ends are not written yet, by token."""
        held = {end.lease.job_id: end.lease.attempt for end in self._ends}
        return held | {job_id: lease.attempt for job_id, (lease, _) in self._running.items()}

    def stop(self, job_id: UUID, *, is_cancelled: bool) -> None:
        """A job's lease is lost, or its owner cancelled it."""
        if job_id not in self._running:
            # It has ended here, and its end is about to be written, or refused.
            return
        lease, task = self._running.pop(job_id)
        self._suspects.pop(job_id, None)
        task.cancel()
        if is_cancelled:
            self._end(self._cancelled(lease))

    async def run(self) -> None:
        """Work until cancelled; then give the leases of unfinished jobs back."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._work(), name="lane")
                group.create_task(self._help(), name="lane-second")
        finally:
            await self._give_back()

    async def _work(self) -> None:
        while True:
            ticket = self._wakeups.ticket(JOBS_TOPIC, jobs_topic(KIND))
            if not await whole(self._turn()):
                await self._wait(ticket)

    async def _help(self) -> None:
        while True:
            await self._is_busy.wait()
            await whole(self._turn())
            # The first may have found no room, or no job to name, on account of this turn.
            self._has_news.set()

    async def _turn(self) -> int:
        """One transaction: end what has finished, claim what comes next."""
        # Calls that were just started and are quick end in this transaction, not in one more.
        await asyncio.sleep(0)
        ends = [self._ends.popleft() for _ in range(min(len(self._ends), _BATCH))]
        self._has_news.clear()
        want = self._wanted()
        self._is_busy.clear()
        if not ends and want.is_none:
            return 0
        try:
            leases = await self._claimed(ends, want)
        except AppError as error:
            _log.warning("cannot end or claim jobs", extra={"reason": error.message})
            self._ends.extendleft(reversed(ends))
            self._is_away = True
            return 0
        except Exception:  # noqa: BLE001 - nobody watches this task, it must not end
            _log.exception("cannot end or claim jobs")
            await self._write_singly(ends)
            return len(ends)
        self._is_away = False
        if len(ends) + len(leases) >= _MUCH:
            self._is_busy.set()
        for lease in await self._set_apart(leases, want):
            self._start(lease)
        # Where others had all of `ids`, the dispatcher may hold more, and wakes nobody again. Of
        # suspects they have some: two workers that took turns at once would never rest.
        return len(leases) + len(self._ends) + (0 if want.is_alone else len(want.ids or ()))

    def _wanted(self) -> Want:
        if self._suspects:
            is_free = not self._running and not self._claiming
            return Want(1, list(self._suspects)[:1], is_alone=True) if is_free else _NOTHING
        room = self._room()
        return Want(room, self._dispatcher.take(KIND, room)) if room > 0 else _NOTHING

    def _room(self) -> int:
        # Until it is known what became of named jobs, the dispatcher would name them again.
        if self._is_naming:
            return 0
        held = len(self._running) + len(self._ends) + self._claiming
        return min(self._settings.lane_capacity - held, _BATCH)

    async def _claimed(self, ends: list[End], want: Want) -> list[Lease]:
        """What `_write` claims, with note taken of what may come while it is on its way."""
        is_naming = bool(want.ids)
        self._claiming += want.room
        self._is_naming |= is_naming
        try:
            return await self._write(ends, want.room, want.ids)
        finally:
            self._claiming -= want.room
            self._is_naming &= not is_naming

    async def _set_apart(self, leases: list[Lease], want: Want) -> list[Lease]:
        """Give back jobs that may be what kills their workers, to run each of them alone.

        A lost lease counts against every job that the worker held, the sound ones too.
        """
        if want.is_alone:
            # One that others have is nobody's here.
            if want.ids and not leases:
                self._suspects.pop(want.ids[0], None)
            return leases
        suspects = [lease for lease in leases if self._is_suspect(lease)]
        if not suspects or len(leases) + len(self._running) + self._claiming == 1:
            return leases
        try:
            async with self._transactions.begin(SERVICE) as uow:
                for one in suspects:
                    await store.give_back(uow, one.job_id, one.attempt, delay_s=0, is_failure=False)
        except AppError as error:
            _log.warning("suspects run with others", extra={"reason": error.message})
            return leases
        self._suspects |= dict.fromkeys(lease.job_id for lease in suspects)
        return [lease for lease in leases if lease.job_id not in self._suspects]

    def _is_suspect(self, lease: Lease) -> bool:
        limit = self._settings.max_attempts
        return lease.losses > 0 and lease.failures == limit - 1 and not lease.is_cancel_requested

    async def _write(self, ends: list[End], room: int, ids: Sequence[UUID] | None) -> list[Lease]:
        """End and claim: among `ids`, or None for whatever is ready."""
        # After a pause leases may have run out: a claim would take the very jobs that end here.
        is_late = loop_time() - self._wrote_at > self._settings.lease_seconds / 3
        leases: list[Lease] = []
        async with self._transactions.begin(SERVICE) as uow:
            if ends and is_late:
                await self._lifecycle.finish_many(uow, ends)
            if room > 0 and (ids is None or ids):
                leases = await self._claim(uow, room, ids)
            # Last, because submits of the same users wait for the wallets locked here.
            if ends and not is_late:
                await self._lifecycle.finish_many(uow, ends)
        self._wrote_at = loop_time()
        if ids:
            self._dispatcher.done(ids)
        return leases

    async def _claim(self, uow: UnitOfWork, room: int, ids: Sequence[UUID] | None) -> list[Lease]:
        began = loop_time()
        floor = self._floor.next(began) if ids is None else 0
        lease_s = self._settings.lease_seconds
        leases = await store.claim(uow, KIND, room, lease_s, self._worker, floor=floor, ids=ids)
        if ids is None:
            last = max((lease.place for lease in leases), default=None)
            self._floor.saw(floor, last, began, loop_time())
        return leases

    async def _write_singly(self, ends: list[End]) -> None:
        """One answer that the database does not take must not hold up those of others."""
        for end in ends:
            try:
                await self._write([end], 0, ())
            except AppError:
                self._end(end)
            except Exception:  # noqa: BLE001 - the database refused the values
                _log.exception("result refused", extra={"job": str(end.lease.job_id)})
                if end != (unfit := _unfit(end)):
                    self._end(unfit)

    async def _wait(self, ticket: Ticket) -> None:
        rest_s = self._settings.poll_seconds
        if self._room() > 0 and not self._suspects and not self._is_away:
            rest_s = self._floor.rest(loop_time(), rest_s)
        woken = asyncio.create_task(self._wakeups.wait(ticket, rest_s))
        ended = asyncio.create_task(self._has_news.wait())
        try:
            await asyncio.wait({woken, ended}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
            ended.cancel()

    def _start(self, lease: Lease) -> None:
        if (earlier := self._running.pop(lease.job_id, None)) is not None:
            # Its lease ran out here before it was renewed.
            earlier[1].cancel()
        if (end := self._end_at_once(lease)) is not None:
            self._suspects.pop(lease.job_id, None)
            self._end(end)
        else:
            self._running[lease.job_id] = (lease, asyncio.create_task(self._call(lease)))

    def _end_at_once(self, lease: Lease) -> End | None:
        if lease.is_cancel_requested:
            return self._cancelled(lease)
        if lease.failures < self._settings.max_attempts:
            return None
        cause = AppError(Code.LEASE_LOST, "Its workers died while they ran it.")
        return End(lease, "Dead", error=buried(self._settings.max_attempts, cause).as_dict())

    async def _call(self, lease: Lease) -> None:
        end = None
        try:
            end = await self._outcome(lease)
        except AppError as error:
            # The lease is lost or the database is away: whoever leases the job next goes on.
            _log.warning("call abandoned", extra={"job": str(lease.job_id), "code": error.code})
        finally:
            mine, _ = self._running.get(lease.job_id, (None, None))
            if mine is lease:
                del self._running[lease.job_id]
                self._suspects.pop(lease.job_id, None)
        if end is not None:
            self._end(end)

    async def _outcome(self, lease: Lease) -> End | None:
        """Make the call; its end, or None if it is tried again later."""
        job = lease.job
        principal = Principal("user", job.user_id, job.project_id, _SCOPES)
        try:
            result = await self._proxy.call(
                ToolCall(
                    principal,
                    job.definition["tool"],
                    job.definition["arguments"],
                    str(job.job_id),
                    job.job_id,
                )
            )
            error = result.error
        except AppError as raised:
            error = raised
        except Exception as raised:  # noqa: BLE001 - the border of foreign code
            _log.warning("tool call failed", exc_info=raised)
            error = AppError(Code.INTERNAL, f"The call failed: {type(raised).__name__}.")
        else:
            if error is None:
                usage = usage_of(job, job.definition["tool"], "call", result)
                return End(lease, "Success", output_of(result), usage=usage)
        return await self._failed(lease, error)

    async def _failed(self, lease: Lease, error: AppError) -> End | None:
        """The end of a failed call, or None if it is tried again."""
        limit = self._settings.max_attempts
        if error.code is Code.RATE_LIMITED:
            await self._postpone(lease, float(error.details.get("retry_after_s", 1.0)))
            return None
        if is_final(error):
            return End(lease, "Failed", error=error.as_dict())
        if lease.failures + 1 >= limit:
            return End(lease, "Dead", error=buried(limit, error).as_dict())
        delay = delay_of(lease.failures, self._settings.backoff_seconds)
        async with self._transactions.begin(SERVICE) as uow:
            await self._lifecycle.retry(uow, lease, error, delay)
        return None

    async def _postpone(self, lease: Lease, delay_s: float) -> None:
        """Put a call off that came too early; it has not failed, and is not counted as if."""
        async with self._transactions.begin(SERVICE) as uow:
            await store.give_back(
                uow, lease.job_id, lease.attempt, delay_s=delay_s, is_failure=False
            )
            uow.after_commit(lambda: self._wakeups.wake(DUE_TOPIC))

    def _cancelled(self, lease: Lease) -> End:
        error = AppError(Code.JOB_CANCELLED, "The job was cancelled by its owner.")
        return End(lease, "Cancelled", error=error.as_dict())

    def _end(self, end: End) -> None:
        self._ends.append(end)
        self._has_news.set()

    async def _give_back(self) -> None:
        running = list(self._running.values())
        self._running.clear()
        for _, task in running:
            task.cancel()
        await asyncio.gather(*(task for _, task in running), return_exceptions=True)
        try:
            async with self._transactions.begin(SERVICE) as uow:
                if self._ends:
                    await self._lifecycle.finish_many(uow, list(self._ends))
                for lease, _ in running:
                    await store.give_back(
                        uow, lease.job_id, lease.attempt, delay_s=0, is_failure=False
                    )
        except AppError as error:
            _log.warning("leases run out by themselves", extra={"reason": error.message})


def _unfit(end: End) -> End:
    error = AppError(
        Code.TOOL_PROTOCOL_ERROR,
        "The tool's answer has a value that cannot be stored.",
        hint="Texts must not hold the character NUL, numbers must be below 2^64.",
    )
    return End(end.lease, "Failed", error=error.as_dict())


def output_of(result: ToolResult) -> Mapping[str, Any]:
    """What a single-tool job leaves behind: the tool's structured answer, else its content."""
    return result.structured if result.structured is not None else {"content": result.content}
