"""The ends of a job: one transaction settles its credits, files, row and trace together."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from app.billing import Billing
from app.kernel.errors import AppError, Code
from app.kernel.uow import UnitOfWork
from app.kernel.wakeups import Wakeups
from app.orchestration import store
from app.orchestration.states import TERMINAL_EVENTS
from app.orchestration.types import Artifact, JobView, Lease, Outcome
from app.storage import Storage

JOBS_TOPIC = "jobs"
CANCELS_TOPIC = "cancels"


def job_topic(job_id: UUID) -> str:
    """The wake-up topic of one job's trace."""
    return f"job:{job_id}"


class Lifecycle:
    """Moves jobs to their next state. Every move of a running job needs its fencing token."""

    def __init__(self, billing: Billing, storage: Storage, wakeups: Wakeups) -> None:
        self._billing = billing
        self._storage = storage
        self._wakeups = wakeups

    async def append(
        self,
        uow: UnitOfWork,
        job: JobView,
        kind: str,
        data: Mapping[str, Any],
        once: str | None = None,
    ) -> None:
        """Add a line to the trace and wake whoever follows it."""
        await store.append_event(uow, job.job_id, job.user_id, kind, data, once)
        uow.after_commit(lambda: self._wakeups.wake(job_topic(job.job_id)))

    async def fence(self, uow: UnitOfWork, lease: Lease) -> None:
        """Hold the job against everyone else for this transaction, or raise `lease_lost`."""
        if not await store.lock_lease(uow, lease.job_id, lease.attempt):
            raise AppError(
                Code.LEASE_LOST, f"Attempt {lease.attempt} no longer holds job {lease.job_id}."
            )

    async def finish(self, uow: UnitOfWork, lease: Lease, outcome: Outcome) -> None:
        """End a run: success captures the price, failure releases it."""
        await self.fence(uow, lease)
        status = "Success" if outcome.is_success else "Failed"
        error = None if outcome.error is None else outcome.error.as_dict()
        await self._end(uow, lease.job, status, outcome.output, error, outcome.files)

    async def bury(self, uow: UnitOfWork, lease: Lease, error: AppError) -> None:
        """Put a job aside as Dead and release its credits."""
        await self.fence(uow, lease)
        await self._end(uow, lease.job, "Dead", None, error.as_dict())

    async def retry(self, uow: UnitOfWork, lease: Lease, error: AppError, delay_s: float) -> None:
        """Give a job back to the queue after a failure."""
        await self.fence(uow, lease)
        data = {"attempt": lease.attempt, "delay_s": round(delay_s, 3), "error": error.as_dict()}
        await self.append(uow, lease.job, "job.retrying", data)
        await store.give_back(uow, lease.job_id, lease.attempt, delay_s=delay_s, is_failure=True)
        uow.after_commit(lambda: self._wakeups.wake(JOBS_TOPIC))

    async def cancel_running(self, uow: UnitOfWork, lease: Lease) -> None:
        """End a run that its owner has cancelled."""
        await self.fence(uow, lease)
        await self.cancel(uow, lease.job)

    async def cancel(self, uow: UnitOfWork, job: JobView) -> None:
        """End a job as Cancelled; the caller holds its queue row."""
        error = AppError(Code.JOB_CANCELLED, "The job was cancelled by its owner.")
        await self._end(uow, job, "Cancelled", None, error.as_dict())

    async def _end(
        self,
        uow: UnitOfWork,
        job: JobView,
        status: str,
        output: Mapping[str, Any] | None,
        error: Mapping[str, Any] | None,
        files: Sequence[Artifact] = (),
    ) -> None:
        charged = job.price_micro if status == "Success" else 0
        if status == "Success":
            await self._billing.capture(uow, job.job_id, charged)
        else:
            await self._billing.release(uow, job.job_id)
        for artifact in files:
            await self._storage.attach(
                uow,
                user_id=job.user_id,
                project_id=job.project_id,
                job_id=job.job_id,
                blob=artifact.blob,
                name=artifact.name,
                media_type=artifact.media_type,
                kind="artifact",
            )
        await store.complete(uow, job.job_id, status, output, error)
        data: dict[str, Any] = {"status": status, "charged_micro": charged}
        if error is not None:
            data["error"] = error
        await self.append(uow, job, TERMINAL_EVENTS[status], data)
        await store.remove_from_queue(uow, job.job_id)
