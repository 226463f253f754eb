"""The facade of jobs: submit, look, cancel, follow."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from uuid import UUID

from app.billing import Billing, Settlement
from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal
from app.kernel.uow import Transactions, UnitOfWork
from app.kernel.wakeups import Wakeups
from app.orchestration import store
from app.orchestration.draft import Draft
from app.orchestration.lifecycle import CANCELS_TOPIC, JOBS_TOPIC, Lifecycle, job_topic
from app.orchestration.states import TERMINAL_EVENTS
from app.orchestration.types import JobEvent, JobRequest, JobView, Lease, Submitted
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
    ) -> None:
        self._billing = billing
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
        await self._resolve(uow, draft, draft.keyed())
        refusals = await self._billing.place(uow, draft.holds())
        draft.refuse(refusals)
        rows = draft.rows()
        made = await store.insert_jobs(uow, rows)
        await open_accounts(self._billing, uow, rows, made)
        if late := draft.accept(made):
            # Another transaction took the key between the look-up and the insert.
            await self._billing.settle_many(uow, [Settlement(one, "released") for one in late])
            await self._resolve(uow, draft, draft.keyed())
        if made:
            uow.after_commit(lambda: self._wakeups.wake(JOBS_TOPIC))
        return draft.results()

    async def _resolve(
        self, uow: UnitOfWork, draft: Draft, keys: Sequence[tuple[UUID, str]]
    ) -> None:
        if not keys:
            return
        for key, (job_id, digest) in (await store.find_by_keys(uow, keys)).items():
            job = await store.get(uow, job_id, key[0])
            assert job is not None
            draft.repeat(key, job, digest)

    async def get(self, uow: UnitOfWork, job_id: UUID) -> JobView:
        """A job of the principal's user, or `not_found`."""
        job = await store.get(uow, job_id, uow.principal.user_id)
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
        return await store.list_jobs(
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
        return await store.events(uow, job_id, after_seq, max(1, min(limit, 1000)))

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
                await self._wakeups.wait(topic, ticket, self._poll_s)

    async def depth(self, uow: UnitOfWork) -> tuple[int, float]:
        """Jobs in the queue and the age in seconds of the oldest that waits."""
        return await store.queue_depth(uow)
