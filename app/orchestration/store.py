"""The SQL of jobs: the row, the queue and the trace. A single job is a batch of one.

Every statement that changes a running job compares the fencing token (`attempt`) in the
same statement. Leases use the database's clock only. Lock order: queue rows, then wallets.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from app.kernel.uow import UnitOfWork
from app.orchestration.types import End, Ended, JobRequest, JobView, Lease

# What the planner knows of the queue is never right: one that was vacuumed while it was empty is a
# row or a few until it is analyzed again, however many come, and any way to them looks as good as
# another. So the statements leave it one:
# - ids of a list are found by `any(array[id])`: joined by `= id`, all would be read, and the list
#   once for each row;
# - expressions in place of columns keep an index out that would be read and filtered;
# - pairs are compared where only the index on both has their order.

# The jobs' rows are read in the same statement; only what a run needs, none of its results.
_CLAIM = """
with ready as materialized (
  select job_id from app.job_queue q
  where kind = $1 and place >= $2 and (lease_until is null or lease_until < now())
    and not exists (select from app.queue_pause p where p.kind = $1)
  order by place limit $3 for update skip locked),
taken as (
  update app.job_queue q
  set attempt = attempt + 1,
      failures = failures + (case when q.lease_until is null then 0 else 1 end),
      losses = losses + (case when q.lease_until is null then 0 else 1 end),
      lease_until = now() + make_interval(secs => $4), worker = $5
  where q.job_id = any(array(select job_id from ready))
  returning q.job_id, q.attempt, q.failures, q.losses, q.is_cancel_requested, q.place)
select j.job_id, t.attempt, t.failures, t.is_cancel_requested, j.user_id, j.project_id, j.kind,
  j.workflow_definition, j.price_micro, j.start_time, t.place, t.losses
from taken t join app.processing_jobs j using (job_id)
"""

# A claim walks the queue in its order, and never sorts it; what follows it may sort.
IN_ORDER = ("set local enable_sort to off", "set local enable_sort to on")

# One look-up a job: asked for as a list, they would be looked for along the whole queue.
_CLAIM_NAMED = _CLAIM.replace(
    _CLAIM[_CLAIM.index("  select job_id from app.job_queue q") : _CLAIM.index("taken as")],
    """
  select q.job_id from unnest($6::text::uuid[]) as named(job_id), lateral (
    select job_id from app.job_queue q
    where q.job_id = named.job_id and kind || '' = $1 and coalesce(place, -1) >= $2
      and (lease_until is null or lease_until < now())
    for update skip locked) as q
  where not exists (select from app.queue_pause p where p.kind = $1) limit $3),
""",
)

# No two lists are joined with each other: without hash joins that would take their product.
# Start-time fair queuing: P. Goyal, H. Vin, H. Cheng, SIGCOMM 1996. The virtual time of a kind
# is the place of its first job that waits, or the clock where none waits.
_PLACED = """
heads as materialized (
  select k.kind, coalesce(
    (select q.place from app.job_queue q
      where q.kind = k.kind and q.place >= $2 and q.lease_until is null
      order by q.place limit 1),
    (extract(epoch from now()) * 1000000)::bigint) as place
  from (select distinct kind from asked) as k),
groups as materialized (
  select a.user_id, a.kind, a.priority, greatest(a.head,
    (select max(t.place) + 1 from generate_series(a.priority, 2) as l(level),
      lateral (select q.place from app.job_queue q
        where q.user_id = a.user_id and q.kind = a.kind
          and (q.priority, q.place) >= (l.level, a.head)
          and (q.priority, q.place) <= (l.level, 9223372036854775807)
        order by q.priority desc, q.place desc limit 1) as t)) as base
  from (
    select user_id, kind, priority,
      (select h.place from heads h where h.kind = asked.kind) as head
    from asked group by user_id, kind, priority) as a),
placed as (
  select job_id, user_id, kind, priority, run_at, is_limited, webhook_id,
    max(base) over (partition by user_id, kind, priority) - 2 + row_number()
      over (partition by user_id, kind, priority order by job_id nulls first) as place
  from (
    select job_id, user_id, kind, priority, run_at, is_limited, webhook_id, null::bigint as base
    from asked
    union all select null, user_id, kind, priority, null, null, null, base from groups) as mixed)
"""

_INSERT = f"""
with asked as materialized (
  select * from json_to_recordset($1::json) as a(job_id uuid, user_id uuid, project_id uuid,
    kind text, definition jsonb, price bigint, version int, priority smallint,
    run_at timestamptz, is_limited bool, webhook_id uuid)),
{_PLACED},
made as (
  insert into app.processing_jobs
    (job_id, user_id, project_id, kind, workflow_definition, price_micro, price_version)
  select job_id, user_id, project_id, kind, definition, price, version from asked),
queued as (
  insert into app.job_queue
    (job_id, user_id, kind, priority, place, run_at, is_limited, parked_as, webhook_id)
  select job_id, user_id, kind, priority,
    case when is_limited or run_at > now() then null else place end,
    case when is_limited then 'infinity' else greatest(run_at, now()) end,
    coalesce(is_limited, false), case when is_limited then 'Limited' end, webhook_id
  from placed where job_id is not null)
select now(), max(place) from heads
"""

# Half of them from the end: a million that became due at once delay no retry of another user.
_STAGE = f"""
with first as materialized (
  select job_id, user_id, kind, priority, run_at, is_limited, webhook_id from app.job_queue
  where place is null and run_at <= now() order by run_at limit ($1::int + 1) / 2
  for update skip locked),
last as materialized (
  select job_id, user_id, kind, priority, run_at, is_limited, webhook_id from app.job_queue
  where place is null and run_at <= now() order by run_at desc limit $1::int / 2
  for update skip locked),
asked as materialized (select * from first union select * from last),
{_PLACED},
staged as (
  update app.job_queue q set place = p.place, parked_as = null
  from (select job_id, place from placed where job_id is not null) as p
  where q.job_id = any(array[p.job_id]) returning q.job_id)
select (select count(*) from staged),
  (select extract(epoch from run_at - now())::float8 from app.job_queue
    where place is null and run_at > now() and run_at < 'infinity' order by run_at limit 1)
"""

_COMPLETE = """
with ended as materialized (
  select * from json_to_recordset($1::json)
    as e(job_id uuid, attempt int, status text, output jsonb, error jsonb)),
held as (
  delete from app.job_queue q using ended e
  where q.job_id = any(array[e.job_id]) and q.attempt = e.attempt
  returning q.is_limited, q.webhook_id, q.priority, e.*)
update app.processing_jobs j
set status = h.status, end_time = now(), attempt = h.attempt, final_output = h.output,
  error = h.error
from held h where j.job_id = h.job_id and j.end_time is null
returning j.job_id, h.is_limited, h.webhook_id, h.priority
"""


# It waits for nobody: a row that is locked is just being ended, or written by its own run, and is
# renewed next time. Else one long transaction of one run would cost all others their leases, and
# a worker's ends, which lock the same rows in their own order, would block each other with it.
_RENEW = """
with held as materialized (
  select * from unnest(cast(:ids as uuid[]), cast(:tokens as int[])) as h(job_id, token)),
alive as materialized (
  select q.job_id, q.is_cancel_requested from held h join app.job_queue q
    on q.job_id = any(array[h.job_id]) and q.attempt = h.token and q.lease_until is not null),
free as materialized (
  select q.job_id from held h join app.job_queue q
    on q.job_id = any(array[h.job_id]) and q.attempt = h.token and q.lease_until is not null
  for no key update of q skip locked),
renewed as (
  update app.job_queue q set lease_until = now() + make_interval(secs => :lease)
  where q.job_id = any(array(select job_id from free)))
select job_id, is_cancel_requested from alive
"""


async def insert_jobs(
    uow: UnitOfWork, jobs: Sequence[tuple[UUID, JobRequest]], floor: int
) -> tuple[datetime, int]:
    """Insert and queue jobs by id, each at its fair place.

    `floor` is a place below which nothing that waits is known, 0 if nothing is. Returns when they
    were queued, and the head of the queue, the next `floor`.
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
            "priority": request.priority,
            "run_at": request.run_at,
            "is_limited": bool(request.limit_names),
            "webhook_id": request.webhook_id,
        }
        for job_id, request in jobs
    ]
    ((queued_at, head),) = await uow.fetch(_INSERT, orjson.dumps(rows).decode(), floor)
    return queued_at, head


async def stage(uow: UnitOfWork, limit: int) -> tuple[int, float | None]:
    """Give jobs whose time has come their place in the queue.

    Returns how many, and in how many seconds the next one is due, None if none is.
    """
    ((staged, next_s),) = await uow.fetch(_STAGE, limit, 0)
    return staged, next_s


async def claim(
    uow: UnitOfWork,
    kind: str,
    limit: int,
    lease_s: float,
    worker: str,
    *,
    floor: int = 0,
    ids: Sequence[UUID] | None = None,
) -> list[Lease]:
    """Lease up to `limit` ready jobs of a kind; an expired lease counts as a failure.

    Only those at the place `floor` or behind it, and among `ids` if any are named.
    """
    values: tuple[object, ...] = (kind, floor, limit, lease_s, worker)
    if ids is None:
        rows = await uow.fetch(_CLAIM, *values, around=IN_ORDER)
    else:
        named = f"{{{','.join(map(str, ids))}}}"
        rows = await uow.fetch(_CLAIM_NAMED, *values, named)
    return [_lease(*row) for row in rows]


def _lease(
    job_id: UUID,
    attempt: int,
    failures: int,
    is_cancel_requested: bool,
    user_id: UUID,
    project_id: UUID | None,
    kind: str,
    definition: Mapping[str, Any],
    price_micro: int,
    start_time: datetime,
    place: int,
    losses: int,
) -> Lease:
    job = JobView(
        job_id,
        user_id,
        project_id,
        kind,
        "Running",
        definition,
        price_micro,
        None,
        attempt,
        start_time,
        None,
        None,
        None,
    )
    return Lease(job, attempt, failures, is_cancel_requested, place, losses)


async def renew(uow: UnitOfWork, leases: Mapping[UUID, int], lease_s: float) -> dict[UUID, bool]:
    """Renew leases by token; return those still held, with whether a cancel was asked for."""
    values = {"ids": list(leases), "tokens": list(leases.values()), "lease": lease_s}
    rows = await uow.execute(_RENEW, values)
    return {row.job_id: row.is_cancel_requested for row in rows}


async def cancelled(uow: UnitOfWork, jobs: Collection[UUID]) -> set[UUID]:
    """Those of the jobs whose owners asked for a cancel."""
    rows = await uow.execute(
        """
        select q.job_id from unnest(cast(:ids as uuid[])) as held(job_id), lateral (
          select job_id from app.job_queue q
          where q.job_id = any(array[held.job_id]) and is_cancel_requested) as q
        """,
        {"ids": list(jobs)},
    )
    return {row.job_id for row in rows}


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
          place = case when :delay > 0 and not is_cancel_requested then null else place end,
          run_at = case when is_cancel_requested then now()
            else now() + make_interval(secs => :delay) end
        where job_id = :job and attempt = :attempt and lease_until is not null
        returning job_id
        """,
        {"job": job_id, "attempt": attempt, "delay": delay_s, "failed": int(is_failure)},
    )
    return rows.one_or_none() is not None


async def complete(uow: UnitOfWork, ends: Sequence[End]) -> list[Ended]:
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
        for end in sorted(ends, key=lambda end: end.lease.job_id)
    ]
    done = await uow.fetch(_COMPLETE, orjson.dumps(rows).decode())
    return [Ended(*row) for row in done]


async def queue_depth(uow: UnitOfWork) -> tuple[int, float]:
    """Ready jobs in the queue, and the age in seconds of the first that waits.

    Counted up to 10,000; what is not ready yet is not looked at.
    """
    rows = await uow.execute(
        """
        select (select count(*) from (select 1 from app.job_queue where place is not null
            limit 10000) as counted) as depth,
          coalesce((select extract(epoch from now() - min(run_at)) from (
            select run_at from app.job_queue where place is not null
              and (lease_until is null or lease_until < now()) order by kind, place limit 100)
            as first), 0) as age
        """
    )
    row = rows.one()
    return int(row.depth), max(float(row.age), 0.0)
