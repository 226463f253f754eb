"""The SQL of jobs: the row, the queue and the trace. A single job is a batch of one.

Every statement that changes a running job compares the fencing token (`attempt`) in the
same statement. Leases use the database's clock only. Lock order: queue rows, then wallets.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from psycopg.types.json import Jsonb

from app.kernel.uow import UnitOfWork
from app.orchestration.types import End, JobEvent, JobRequest, JobView, Lease

_VIEW = """
select job_id, user_id, project_id, kind, status, workflow_definition as definition, price_micro,
  charged_micro, attempt, start_time, end_time, final_output, error
from app.jobs j
"""

# The jobs' rows are read in the same statement; only what a run needs, none of its results.
_CLAIM = """
with ready as materialized (
  select job_id from app.job_queue
  where run_at <= now() and (lease_until is null or lease_until < now()) and kind = any(:kinds)
  order by priority desc, run_at limit :limit for update skip locked),
taken as (
  update app.job_queue q
  set attempt = attempt + 1,
      failures = failures + (case when q.lease_until is null then 0 else 1 end),
      lease_until = now() + make_interval(secs => :lease), worker = :worker
  where q.job_id = any(array(select job_id from ready))
  returning q.job_id, q.attempt, q.failures, q.is_cancel_requested)
select t.attempt, t.failures, t.is_cancel_requested, j.job_id, j.user_id, j.project_id, j.kind,
  j.workflow_definition as definition, j.price_micro, j.start_time
from taken t join app.processing_jobs j using (job_id)
"""

_INSERT = """
with asked as (
  select * from json_to_recordset(cast(:rows as json)) as a(job_id uuid, user_id uuid,
    project_id uuid, kind text, definition jsonb, price bigint, version int, key text, hash text,
    priority smallint)),
made as (
  insert into app.processing_jobs (job_id, user_id, project_id, kind, workflow_definition,
    price_micro, price_version, idempotency_key, request_hash)
  select job_id, user_id, project_id, kind, definition, price, version, key, decode(hash, 'hex')
  from asked
  on conflict (user_id, idempotency_key) where idempotency_key is not null do nothing
  returning job_id, start_time),
queued as (
  insert into app.job_queue (job_id, user_id, kind, priority)
  select job_id, user_id, kind, priority from asked join made using (job_id))
select job_id, start_time from made
"""

_COMPLETE = """
with ended as (
  select * from json_to_recordset(cast(:rows as json))
    as e(job_id uuid, attempt int, status text, output jsonb, error jsonb)),
held as (
  delete from app.job_queue q using ended e
  where q.job_id = e.job_id and q.attempt = e.attempt
  returning q.job_id)
update app.processing_jobs j
set status = e.status, end_time = now(), attempt = e.attempt, final_output = e.output,
  error = e.error
from ended e join held using (job_id)
where j.job_id = e.job_id and j.end_time is null
returning j.job_id
"""

# A trace's first and last line are the job's own row, told as lines: no job pays for them.
_TRACE = """
select 1 as seq, 'job.queued' as kind, start_time as created_at,
  jsonb_build_object('kind', kind, 'price_micro', price_micro) as data
from app.processing_jobs where job_id = :job and :after < 1
union all
select seq, kind, created_at, data from app.job_events where job_id = :job and seq > :after
union all
select last + 1, 'job.' || case status when 'Success' then 'succeeded' else lower(status) end,
  end_time, jsonb_strip_nulls(jsonb_build_object('status', status, 'error', error,
    'charged_micro', coalesce(charged_micro, 0)))
from app.jobs, lateral (
  select coalesce(max(seq), 1) as last from app.job_events where job_id = :job) as stored
where job_id = :job and end_time is not null and last + 1 > :after
order by seq limit :limit
"""

_APPEND = """
insert into app.job_events (job_id, seq, user_id, kind, data, once)
select :job, 1 + coalesce((select max(seq) from app.job_events where job_id = :job), 1),
  :user, :kind, :data, cast(:once as text)
on conflict (job_id, once) where once is not null do nothing
"""


async def insert_jobs(
    uow: UnitOfWork, jobs: Sequence[tuple[UUID, JobRequest, bytes]]
) -> dict[UUID, datetime]:
    """Insert and queue jobs (id, request, hash); those whose key is taken are left out.

    Returns when each inserted job was queued.
    """
    rows = [
        {
            "job_id": job_id,
            "user_id": request.user_id,
            "project_id": request.project_id,
            "kind": request.kind,
            "definition": request.definition,
            "price": request.price.amount_micro,
            "version": request.price.price_version,
            "key": request.idempotency_key,
            "hash": digest.hex(),
            "priority": request.priority,
        }
        for job_id, request, digest in jobs
    ]
    made = await uow.execute(_INSERT, {"rows": orjson.dumps(rows).decode()})
    return {row.job_id: row.start_time for row in made}


async def find_by_keys(
    uow: UnitOfWork, keys: Sequence[tuple[UUID, str]]
) -> dict[tuple[UUID, str], tuple[UUID, bytes]]:
    """The job and request hash that each (user, idempotency key) stands for."""
    rows = await uow.execute(
        """
        select j.user_id, j.idempotency_key, j.job_id, j.request_hash
        from unnest(cast(:users as uuid[]), cast(:keys as text[])) as k(user_id, key)
        join app.processing_jobs j on j.user_id = k.user_id and j.idempotency_key = k.key
        """,
        {"users": [user for user, _ in keys], "keys": [key for _, key in keys]},
    )
    return {
        (row.user_id, row.idempotency_key): (row.job_id, bytes(row.request_hash)) for row in rows
    }


async def get(uow: UnitOfWork, job_id: UUID, user_id: UUID | None) -> JobView | None:
    """A job, of that user if one is named."""
    rows = await uow.execute(
        _VIEW + " where j.job_id = :job and (cast(:user as uuid) is null or j.user_id = :user)",
        {"job": job_id, "user": user_id},
    )
    row = rows.mappings().one_or_none()
    return None if row is None else JobView(**row)


async def list_jobs(
    uow: UnitOfWork,
    user_id: UUID,
    limit: int,
    before: UUID | None,
    *,
    status: str | None = None,
    kind: str | None = None,
    since: datetime | None = None,
) -> list[JobView]:
    """A user's jobs, newest first; `before` is the last id of the page before."""
    wanted = {
        "j.job_id < :before": before,
        "j.status = :status": status,
        "j.kind = :kind": kind,
        "j.start_time >= :since": since,
    }
    # Only conditions that are asked for: a plan for "or is null" would fit none of them.
    where = "".join(f" and {one}" for one, value in wanted.items() if value is not None)
    rows = await uow.execute(
        f"{_VIEW} where j.user_id = :user{where} order by j.job_id desc limit :limit",
        {
            "user": user_id,
            "before": before,
            "status": status,
            "kind": kind,
            "since": since,
            "limit": limit,
        },
    )
    return [JobView(**row) for row in rows.mappings()]


async def claim(
    uow: UnitOfWork, kinds: Sequence[str], limit: int, lease_s: float, worker: str
) -> list[Lease]:
    """Lease up to `limit` ready jobs; an expired lease counts as a failure."""
    rows = await uow.execute(
        _CLAIM, {"kinds": list(kinds), "limit": limit, "lease": lease_s, "worker": worker}
    )
    return [_lease(row) for row in rows]


def _lease(row: Any) -> Lease:
    job = JobView(
        job_id=row.job_id,
        user_id=row.user_id,
        project_id=row.project_id,
        kind=row.kind,
        status="Running",
        definition=row.definition,
        price_micro=row.price_micro,
        charged_micro=None,
        attempt=row.attempt,
        start_time=row.start_time,
        end_time=None,
        final_output=None,
        error=None,
    )
    return Lease(job, row.attempt, row.failures, row.is_cancel_requested)


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


async def lock_queued(uow: UnitOfWork, job_id: UUID, user_id: UUID) -> tuple[bool, int] | None:
    """Lock a user's queue row: None if the job has ended, else if it is leased, and its token."""
    rows = await uow.execute(
        """
        select coalesce(lease_until > now(), false) as is_leased, attempt from app.job_queue
        where job_id = :job and user_id = :user for update
        """,
        {"job": job_id, "user": user_id},
    )
    row = rows.one_or_none()
    return None if row is None else (bool(row.is_leased), int(row.attempt))


async def request_cancel(uow: UnitOfWork, job_id: UUID) -> None:
    """Ask the worker that runs a job to stop it."""
    await uow.execute(
        "update app.job_queue set is_cancel_requested = true where job_id = :job", {"job": job_id}
    )


async def give_back(
    uow: UnitOfWork, job_id: UUID, attempt: int, *, delay_s: float, is_failure: bool
) -> bool:
    """End a lease without ending the job; it becomes ready again after `delay_s`.

    One that its owner has cancelled meanwhile is ready at once, so that it is ended.
    """
    rows = await uow.execute(
        """
        update app.job_queue
        set lease_until = null, worker = null, failures = failures + :failed,
          run_at = case when is_cancel_requested then now()
            else now() + make_interval(secs => :delay) end
        where job_id = :job and attempt = :attempt and lease_until is not null
        returning job_id
        """,
        {"job": job_id, "attempt": attempt, "delay": delay_s, "failed": int(is_failure)},
    )
    return rows.one_or_none() is not None


async def complete(uow: UnitOfWork, ends: Sequence[End]) -> set[UUID]:
    """Take jobs out of the queue and write their ends; return those whose token still held.

    An end is written once: a stale token, or a job that has ended, changes nothing.
    """
    rows = [
        {
            "job_id": end.lease.job_id,
            "attempt": end.lease.attempt,
            "status": end.status,
            "output": end.output,
            "error": end.error,
        }
        for end in ends
    ]
    done = await uow.execute(_COMPLETE, {"rows": orjson.dumps(rows).decode()})
    return {row.job_id for row in done}


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


async def events(uow: UnitOfWork, job_id: UUID, after_seq: int, limit: int) -> list[JobEvent]:
    """A page of a job's trace, in order; the caller has made sure whose job it is."""
    rows = await uow.execute(_TRACE, {"job": job_id, "after": after_seq, "limit": limit})
    return [JobEvent(job_id, r.seq, r.kind, r.data, r.created_at) for r in rows]


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
