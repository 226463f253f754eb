"""The SQL of jobs: the row, the queue and the trace.

Every statement that changes a running job compares the fencing token (`attempt`) in the
same statement. Leases use the database's clock only. Lock order: queue rows, then wallets.
"""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from app.kernel.uow import UnitOfWork
from app.orchestration.types import JobEvent, JobRequest, JobView, Lease

_VIEW = """
select job_id, user_id, project_id, kind, status, workflow_definition as definition, price_micro,
  charged_micro, attempt, start_time, end_time, final_output, error
from app.jobs j
"""

_CLAIM = """
with ready as materialized (
  select job_id from app.job_queue
  where run_at <= now() and (lease_until is null or lease_until < now()) and kind = any(:kinds)
  order by priority desc, run_at limit :limit for update skip locked)
update app.job_queue q
set attempt = attempt + 1,
    failures = failures + (case when q.lease_until is null then 0 else 1 end),
    lease_until = now() + make_interval(secs => :lease), worker = :worker
where q.job_id = any(array(select job_id from ready))
returning q.job_id, q.attempt, q.failures, q.is_cancel_requested
"""

_APPEND = """
insert into app.job_events (job_id, seq, user_id, kind, data, once)
select :job, 1 + coalesce((select max(seq) from app.job_events where job_id = :job), 0),
  :user, :kind, :data, cast(:once as text)
on conflict (job_id, once) where once is not null do nothing
"""


async def insert_job(
    uow: UnitOfWork, job_id: UUID, request: JobRequest, request_hash: bytes
) -> bool:
    """Insert a job's row; False if its idempotency key is taken."""
    rows = await uow.execute(
        """
        insert into app.processing_jobs (job_id, user_id, project_id, kind, workflow_definition,
          price_micro, price_version, idempotency_key, request_hash)
        values (:job, :user, :project, :kind, :definition, :price, :version, :key, :hash)
        on conflict (user_id, idempotency_key) where idempotency_key is not null do nothing
        returning job_id
        """,
        {
            "job": job_id,
            "user": request.user_id,
            "project": request.project_id,
            "kind": request.kind,
            "definition": Jsonb(dict(request.definition)),
            "price": request.price.amount_micro,
            "version": request.price.price_version,
            "key": request.idempotency_key,
            "hash": request_hash,
        },
    )
    return rows.one_or_none() is not None


async def enqueue(uow: UnitOfWork, job_id: UUID, request: JobRequest) -> None:
    """Put a job into the queue."""
    await uow.execute(
        """
        insert into app.job_queue (job_id, user_id, kind, priority)
        values (:job, :user, :kind, :priority)
        """,
        {
            "job": job_id,
            "user": request.user_id,
            "kind": request.kind,
            "priority": request.priority,
        },
    )


async def find_by_key(uow: UnitOfWork, user_id: UUID, key: str) -> tuple[UUID, bytes] | None:
    """The job and request hash that an idempotency key stands for."""
    rows = await uow.execute(
        """
        select job_id, request_hash from app.processing_jobs
        where user_id = :user and idempotency_key = :key
        """,
        {"user": user_id, "key": key},
    )
    row = rows.one_or_none()
    return None if row is None else (row.job_id, bytes(row.request_hash))


async def get(uow: UnitOfWork, job_id: UUID, user_id: UUID | None) -> JobView | None:
    """A job, of that user if one is named."""
    rows = await uow.execute(
        _VIEW + " where j.job_id = :job and (cast(:user as uuid) is null or j.user_id = :user)",
        {"job": job_id, "user": user_id},
    )
    row = rows.mappings().one_or_none()
    return None if row is None else JobView(**row)


async def list_jobs(
    uow: UnitOfWork, user_id: UUID, limit: int, before: UUID | None
) -> list[JobView]:
    """A user's jobs, newest first; `before` is the last id of the page before."""
    rows = await uow.execute(
        _VIEW + " where j.user_id = :user and (cast(:before as uuid) is null or j.job_id < :before)"
        " order by j.job_id desc limit :limit",
        {"user": user_id, "before": before, "limit": limit},
    )
    return [JobView(**row) for row in rows.mappings()]


async def claim(
    uow: UnitOfWork, kinds: Sequence[str], limit: int, lease_s: float, worker: str
) -> list[Lease]:
    """Lease up to `limit` ready jobs; an expired lease counts as a failure."""
    rows = await uow.execute(
        _CLAIM, {"kinds": list(kinds), "limit": limit, "lease": lease_s, "worker": worker}
    )
    claimed = {row.job_id: row for row in rows}
    if not claimed:
        return []
    jobs = await uow.execute(_VIEW + " where j.job_id = any(:ids)", {"ids": list(claimed)})
    views = [JobView(**job) for job in jobs.mappings()]
    return [
        Lease(view, row.attempt, row.failures, row.is_cancel_requested)
        for view in views
        for row in [claimed[view.job_id]]
    ]


async def renew(uow: UnitOfWork, leases: Mapping[UUID, int], lease_s: float) -> dict[UUID, bool]:
    """Renew leases by token; return those still held, with whether a cancel was asked for."""
    rows = await uow.execute(
        """
        update app.job_queue q set lease_until = now() + make_interval(secs => :lease)
        from unnest(cast(:ids as uuid[]), cast(:tokens as int[])) as held(job_id, token)
        where q.job_id = held.job_id and q.attempt = held.token and q.lease_until is not null
        returning q.job_id, q.is_cancel_requested
        """,
        {"ids": list(leases), "tokens": list(leases.values()), "lease": lease_s},
    )
    return {row.job_id: row.is_cancel_requested for row in rows}


async def lock_lease(uow: UnitOfWork, job_id: UUID, attempt: int) -> bool:
    """Lock the queue row if this token still holds it."""
    rows = await uow.execute(
        "select 1 from app.job_queue where job_id = :job and attempt = :attempt for update",
        {"job": job_id, "attempt": attempt},
    )
    return rows.one_or_none() is not None


async def lock_queued(uow: UnitOfWork, job_id: UUID, user_id: UUID) -> bool | None:
    """Lock a user's queue row: None if the job has ended, else whether it is leased now."""
    rows = await uow.execute(
        """
        select coalesce(lease_until > now(), false) as is_leased from app.job_queue
        where job_id = :job and user_id = :user for update
        """,
        {"job": job_id, "user": user_id},
    )
    row = rows.one_or_none()
    return None if row is None else bool(row.is_leased)


async def request_cancel(uow: UnitOfWork, job_id: UUID) -> None:
    """Ask the worker that runs a job to stop it."""
    await uow.execute(
        "update app.job_queue set is_cancel_requested = true where job_id = :job", {"job": job_id}
    )


async def give_back(
    uow: UnitOfWork, job_id: UUID, attempt: int, *, delay_s: float, is_failure: bool
) -> bool:
    """End a lease without ending the job; it becomes ready again after `delay_s`."""
    rows = await uow.execute(
        """
        update app.job_queue
        set lease_until = null, worker = null, failures = failures + :failed,
          run_at = now() + make_interval(secs => :delay)
        where job_id = :job and attempt = :attempt and lease_until is not null
        returning job_id
        """,
        {"job": job_id, "attempt": attempt, "delay": delay_s, "failed": int(is_failure)},
    )
    return rows.one_or_none() is not None


async def remove_from_queue(uow: UnitOfWork, job_id: UUID) -> None:
    """Take a job out of the queue; the caller holds its lock."""
    await uow.execute("delete from app.job_queue where job_id = :job", {"job": job_id})


async def complete(
    uow: UnitOfWork,
    job_id: UUID,
    status: str,
    output: Mapping[str, Any] | None,
    error: Mapping[str, Any] | None,
) -> None:
    """Write a job's end; it is written once."""
    await uow.execute(
        """
        update app.processing_jobs
        set status = :status, end_time = now(), final_output = :output, error = :error
        where job_id = :job and end_time is null
        """,
        {
            "job": job_id,
            "status": status,
            "output": None if output is None else Jsonb(dict(output)),
            "error": None if error is None else Jsonb(dict(error)),
        },
    )


async def append_event(
    uow: UnitOfWork,
    job_id: UUID,
    user_id: UUID,
    kind: str,
    data: Mapping[str, Any],
    once: str | None = None,
) -> None:
    """Append to a job's trace; the caller holds the queue row's lock, or has just made the job."""
    await uow.execute(
        _APPEND,
        {"job": job_id, "user": user_id, "kind": kind, "data": Jsonb(dict(data)), "once": once},
    )


async def events(
    uow: UnitOfWork, job_id: UUID, user_id: UUID | None, after_seq: int, limit: int
) -> list[JobEvent]:
    """A page of a job's trace, in order."""
    rows = await uow.execute(
        """
        select job_id, seq, kind, data, created_at from app.job_events
        where job_id = :job and seq > :after and (cast(:user as uuid) is null or user_id = :user)
        order by seq limit :limit
        """,
        {"job": job_id, "after": after_seq, "user": user_id, "limit": limit},
    )
    return [JobEvent(r.job_id, r.seq, r.kind, r.data, r.created_at) for r in rows]


async def queue_depth(uow: UnitOfWork) -> tuple[int, float]:
    """Jobs in the queue, and the age in seconds of the oldest that is ready and not leased."""
    rows = await uow.execute(
        """
        select count(*) as depth, coalesce(extract(epoch from now() - min(run_at) filter
          (where run_at <= now() and (lease_until is null or lease_until < now()))), 0) as age
        from app.job_queue
        """
    )
    row = rows.one()
    return int(row.depth), float(row.age)
