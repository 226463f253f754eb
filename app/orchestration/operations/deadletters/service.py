"""Dead letters: jobs put aside, kept with their reason until their owner redrives them.

A redriven job is a new job with an id of its own, linked to the dead one. A hold's id is its
job's and is settled once, so a second life of the same job could never hold credits again.
"""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from app.billing import Quote
from app.kernel.errors import AppError, Code
from app.kernel.uow import UnitOfWork
from app.orchestration.operations.deadletters import store
from app.orchestration.operations.types import DeadLetter, Redriven, Submits
from app.orchestration.records import store as trace
from app.orchestration.types import End, Ended, JobRequest, Submitted

MAX_REDRIVE = 500


def key_of(job_id: UUID) -> str:
    """The idempotency key under which a dead job is queued again."""
    return f"redrive:{job_id}"


def cause_of(error: Any) -> str:
    """The code behind a dead job: of its last failure, not that its attempts are exhausted."""
    body: Any = error or {}
    cause = (body.get("details") or {}).get("cause") or body
    return str(cause.get("code", Code.INTERNAL.value))


async def bury(uow: UnitOfWork, ends: Sequence[tuple[End, Ended]]) -> None:
    """Keep jobs that end as Dead now, as they stood in the queue; before limits are released."""
    rows = [
        {
            "job_id": end.lease.job_id,
            "user_id": end.lease.job.user_id,
            "kind": end.lease.job.kind,
            "cause": cause_of(end.error),
            "error": end.error or {},
            "webhook_id": row.webhook_id,
            "priority": row.priority,
        }
        for end, row in ends
    ]
    await store.bury(uow, rows)


class DeadLetters:
    """Dead letters of users, in the caller's transaction."""

    def __init__(self, jobs: Submits) -> None:
        self._jobs = jobs

    async def list(
        self,
        uow: UnitOfWork,
        user_id: UUID,
        limit: int = 50,
        before: UUID | None = None,
        *,
        cause: str | None = None,
        kind: str | None = None,
        is_open: bool | None = None,
    ) -> Sequence[DeadLetter]:
        """A user's dead letters, newest first, at most 200; `is_open`: not redriven yet."""
        most = max(1, min(limit, 200))
        return await store.list_of(
            uow, user_id, most, before, cause=cause, kind=kind, is_open=is_open
        )

    async def counts(self, uow: UnitOfWork, user_id: UUID) -> Sequence[tuple[str, str, int]]:
        """(cause, kind, number) of those not redriven; at most 10,000 are counted."""
        return await store.counts(uow, user_id)

    async def redrive(self, uow: UnitOfWork, user_id: UUID, job_id: UUID) -> Redriven:
        """Queue a dead job again and hold its price again; a repeat gives the same new job."""
        row = await store.take(uow, user_id, job_id)
        if row is None:
            raise AppError(Code.NOT_FOUND, f"There is no dead letter {job_id}.")
        if row.redriven_as is not None:
            return Redriven(job_id, row.redriven_as)
        (result,) = await self._queue(uow, [row])
        return result

    async def redrive_all(
        self,
        uow: UnitOfWork,
        user_id: UUID,
        limit: int = 100,
        after: UUID | None = None,
        *,
        cause: str | None = None,
        kind: str | None = None,
    ) -> tuple[Sequence[Redriven], UUID | None]:
        """Redrive the oldest `limit` (at most 500) that fit; gives the `after` of the next batch.

        One whose price the wallet does not cover stays a dead letter and refuses no other.
        """
        most = max(1, min(limit, MAX_REDRIVE))
        rows = await store.take_open(uow, user_id, most, after, cause=cause, kind=kind)
        results = await self._queue(uow, rows) if rows else []
        return results, rows[-1].job_id if len(rows) == most else None

    async def _queue(self, uow: UnitOfWork, rows: Sequence[Any]) -> Sequence[Redriven]:
        asked = [_request(row) for row in rows]
        made = iter(
            await self._jobs.submit_many(uow, [a for a in asked if isinstance(a, JobRequest)])
        )
        results = [next(made) if isinstance(one, JobRequest) else one for one in asked]
        for row, result in zip(rows, results, strict=True):
            if isinstance(result, Submitted) and result.is_new:
                new, data = result.job, {"from": str(row.job_id)}
                await trace.append_event(uow, new.job_id, new.user_id, "job.redriven", data)
                # What the dead run had from another one it is not charged for: not done again.
                if kept := new.definition.get("kept"):
                    await trace.copy_steps(uow, row.job_id, new.job_id, new.user_id, kept)
        redriven = [_result(row.job_id, one) for row, one in zip(rows, results, strict=True)]
        await store.link(uow, [one for one in redriven if one.redriven_as is not None])
        return redriven


def _request(row: Any) -> JobRequest | AppError:
    if row.definition is None:
        return AppError(Code.NOT_FOUND, f"Job {row.job_id} is no longer kept.")
    if row.definition.get("billing") == "usage":
        return AppError(
            Code.CONFLICT,
            f"Job {row.job_id} was quoted by what it uses; it is not queued again by itself.",
            hint="Submit it anew, at the rates of today.",
        )
    return JobRequest(
        user_id=row.user_id,
        kind=row.kind,
        definition=row.definition,
        # What was quoted holds: a price published since is for new requests.
        price=Quote("tool", "", "outcome", row.price_micro, row.price_version),
        project_id=row.project_id,
        idempotency_key=key_of(row.job_id),
        priority=row.priority,
        limit_names=tuple(row.limit_names),
        webhook_id=row.webhook_id,
    )


def _result(job_id: UUID, result: Submitted | AppError) -> Redriven:
    if isinstance(result, AppError):
        return Redriven(job_id, error=result)
    return Redriven(job_id, result.job.job_id)
