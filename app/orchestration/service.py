"""The facade of jobs: submit, look, cancel, follow."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from functools import partial
from uuid import UUID

from app.billing import Billing
from app.kernel.clock import loop_time
from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal
from app.kernel.uow import Transactions, UnitOfWork
from app.kernel.wakeups import Wakeups
from app.orchestration import store
from app.orchestration.admission import Admission, OpenAdmission
from app.orchestration.draft import Draft
from app.orchestration.floor import Floor
from app.orchestration.lifecycle import (
    CANCELS_TOPIC,
    DUE_TOPIC,
    Lifecycle,
    job_topic,
    jobs_topic,
    user_topic,
)
from app.orchestration.records import store as records
from app.orchestration.states import TERMINAL_EVENTS
from app.orchestration.types import (
    JobEvent,
    JobRequest,
    JobView,
    Lease,
    Standing,
    Submitted,
)
from app.orchestration.usage import open_accounts

_ENDS = frozenset(TERMINAL_EVENTS.values())


class Jobs:
    """Jobs of users. A job is inserted, and its credits are held, in the caller's transaction."""

    def __init__(
        self,
        billing: Billing,
        lifecycle: Lifecycle,
        transactions: Transactions,
        wakeups: Wakeups,
        poll_s: float = 1.0,
        admission: Admission | None = None,
    ) -> None:
        self._billing = billing
        self._admission = admission or OpenAdmission()
        self._floors: dict[str, Floor] = {}
        self._lifecycle = lifecycle
        self._transactions = transactions
        self._wakeups = wakeups
        self._poll_s = poll_s

    async def submit(self, uow: UnitOfWork, request: JobRequest) -> Submitted:
        """Queue a job and hold its price, both or neither.

        The same idempotency key with the same request gives the same job; with another request
        it raises `idempotency_mismatch`. Raises `insufficient_credits` and leaves no job.
        """
        result = (await self.submit_many(uow, [request]))[0]
        if isinstance(result, AppError):
            raise result
        return result

    async def submit_many(
        self, uow: UnitOfWork, requests: Sequence[JobRequest]
    ) -> list[Submitted | AppError]:
        """Queue jobs in the order given, each under the rules of `submit` for itself."""
        draft = Draft(requests)
        await self._look_up(uow, draft)
        refusals = await self._billing.place(uow, draft.holds())
        if unused := draft.refuse(refusals):
            await records.free_keys(uow, unused)
        if rows := draft.rows():
            await self._insert(uow, draft, rows)
        return draft.results()

    async def _insert(
        self, uow: UnitOfWork, draft: Draft, rows: list[tuple[UUID, JobRequest]]
    ) -> None:
        queued_at = await self._queue(uow, rows)
        await open_accounts(self._billing, uow, rows)
        limited = [(job_id, request) for job_id, request in rows if request.limit_names]
        if limited:
            await self._admission.admit(uow, limited)
        draft.accept(queued_at)
        if any(request.run_at is not None or request.limit_names for _, request in rows):
            uow.after_commit(lambda: self._wakeups.wake(DUE_TOPIC))
        for kind in {request.kind for _, request in rows}:
            uow.after_commit(partial(self._wakeups.wake, jobs_topic(kind)))
        for user_id in {request.user_id for _, request in rows}:
            uow.after_commit(partial(self._wakeups.wake, user_topic(user_id)))

    async def _queue(self, uow: UnitOfWork, rows: list[tuple[UUID, JobRequest]]) -> datetime:
        """Insert jobs; each kind has a head, and so a floor, of its own."""
        kinds = {request.kind for _, request in rows}
        floors = [self._floors.setdefault(kind, Floor()) for kind in kinds]
        began = loop_time()
        lowest = min(floor.next(began) for floor in floors)
        queued_at, head = await store.insert_jobs(uow, rows, lowest)
        if len(floors) == 1:
            floors[0].saw(lowest, head, began, loop_time())
        return queued_at

    async def _look_up(self, uow: UnitOfWork, draft: Draft) -> None:
        """Bind the keys of new requests; those that are taken stand for earlier jobs."""
        if not (keys := draft.keys()):
            return
        bound = await records.take_keys(uow, keys)
        taken = [(user, key) for user, key, job_id, _ in keys if job_id not in bound]
        if taken:
            for key, (job, digest) in (await records.find_by_keys(uow, taken)).items():
                draft.repeat(key, job, digest)

    async def get(self, uow: UnitOfWork, job_id: UUID) -> JobView:
        """A job of the principal's user, or `not_found`."""
        job = await records.get(uow, job_id, uow.principal.user_id)
        if job is None:
            raise AppError(Code.NOT_FOUND, f"There is no job {job_id}.")
        return job

    async def list(
        self,
        uow: UnitOfWork,
        user_id: UUID,
        limit: int = 50,
        before: UUID | None = None,
        *,
        status: str | None = None,
        kind: str | None = None,
        since: datetime | None = None,
    ) -> Sequence[JobView]:
        """A user's jobs, newest first, at most 200; `before` continues after a page's last id.

        Only those in the state `status`, of the kind `kind`, queued at `since` or later.
        """
        most = max(1, min(limit, 200))
        return await records.list_jobs(
            uow, user_id, most, before, status=status, kind=kind, since=since
        )

    async def cancel(self, uow: UnitOfWork, job_id: UUID) -> JobView:
        """Cancel a job: at once if it waits, at its next step if it runs."""
        job = await self.get(uow, job_id)
        queued = await store.lock_queued(uow, job_id, job.user_id)
        if queued is None:
            raise AppError(Code.JOB_FINISHED, f"Job {job_id} has ended as {job.status}.")
        is_leased, attempt = queued
        if is_leased:
            await store.request_cancel(uow, job_id)
            uow.after_commit(lambda: self._wakeups.wake(CANCELS_TOPIC))
        else:
            await self._lifecycle.cancel(uow, Lease(job, attempt, 0, True))
        return await self.get(uow, job_id)

    async def events(
        self, uow: UnitOfWork, job_id: UUID, after_seq: int = 0, limit: int = 500
    ) -> Sequence[JobEvent]:
        """A page of the trace, in order, at most 1,000 lines; `not_found` if not the user's."""
        await self.get(uow, job_id)
        return await records.events(uow, job_id, after_seq, max(1, min(limit, 1000)))

    async def standings(self, uow: UnitOfWork, job_ids: Sequence[UUID]) -> Sequence[Standing]:
        """How far jobs are, those left out that the principal may not see."""
        return await records.standings(uow, job_ids)

    async def follow(
        self, principal: Principal, job_id: UUID, after_seq: int = 0
    ) -> AsyncIterator[JobEvent]:
        """The trace as it grows, up to the line that ends the job. Leaving it harms nothing."""
        topic = job_topic(job_id)
        while True:
            ticket = self._wakeups.ticket(topic)
            async with self._transactions.begin(principal) as uow:
                # The job is read first: an end seen here has its event among those read next.
                is_over = (await self.get(uow, job_id)).is_terminal
                page = await self.events(uow, job_id, after_seq)
            for event in page:
                after_seq = event.seq
                yield event
                if event.kind in _ENDS:
                    return
            if not page and is_over:
                return
            if not page:
                await self._wakeups.wait(ticket, self._poll_s)

    async def depth(self, uow: UnitOfWork) -> tuple[int, float]:
        """Jobs in the queue and the age in seconds of the oldest that waits."""
        return await store.queue_depth(uow)
