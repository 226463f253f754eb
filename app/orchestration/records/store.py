"""The SQL of what users see of jobs: their rows, idempotency keys, traces, steps handed on."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from psycopg.types.json import Jsonb

from app.kernel.uow import UnitOfWork
from app.orchestration.types import JobEvent, JobView, Standing

_VIEW = """
select job_id, user_id, project_id, kind, status, workflow_definition as definition, price_micro,
  charged_micro, attempt, start_time, end_time, final_output, error
from app.jobs j
"""

# Sorted, so that two batches that share keys wait for each other in one order.
_TAKE_KEYS = """
insert into app.job_key (user_id, key, job_id, request_hash)
select user_id, key, job_id, decode(hash, 'hex')
from json_to_recordset(cast(:rows as json)) as k(user_id uuid, key text, job_id uuid, hash text)
order by user_id, key
on conflict do nothing returning job_id
"""

# A trace's first and last line are the job's own row, told as lines: no job pays for them.
_TRACE = """
select 1 as seq, 'job.queued' as kind, start_time as created_at,
  jsonb_build_object('kind', kind, 'price_micro', price_micro) as data
from app.processing_jobs where job_id = :job and :after < 1
union all
select seq, kind, created_at, data from app.job_lines where job_id = :job and seq > :after
union all
select last + 1, 'job.' || case status when 'Success' then 'succeeded' else lower(status) end,
  end_time, jsonb_strip_nulls(jsonb_build_object('status', status, 'error', error,
    'charged_micro', coalesce(charged_micro, 0)))
from app.jobs, lateral (
  select coalesce(max(seq), 1) as last from app.job_lines where job_id = :job) as stored
where job_id = :job and end_time is not null and last + 1 > :after
order by seq limit :limit
"""

_STANDINGS = """
select j.job_id, j.user_id,
  coalesce((select max(l.seq) from app.job_lines l where l.job_id = j.job_id), 1)
    + (j.end_time is not null)::int as seq,
  j.end_time is not null as is_over
from app.processing_jobs j where j.job_id = any($1::uuid[])
"""

_APPEND = """
insert into app.job_events (job_id, seq, user_id, kind, data, once)
select :job, 1 + coalesce((select max(seq) from app.job_lines where job_id = :job), 1),
  :user, :kind, :data, cast(:once as text)
on conflict (job_id, once) where once is not null do nothing
"""

# No line of the new job's trace tells of a step that it took over.
_COPY_STEPS = """
insert into app.job_steps (job_id, path, user_id, attempt, status, output, error, started_at,
  ended_at)
select :target, path, user_id, attempt, status, output, error, started_at, ended_at
from app.job_steps
where job_id = :source and user_id = :user and path = any(:paths) and status <> 'Skipped'
"""


async def take_keys(uow: UnitOfWork, keys: Sequence[tuple[UUID, str, UUID, bytes]]) -> set[UUID]:
    """Bind free idempotency keys (user, key, job, hash) to their jobs; returns those jobs."""
    rows = [
        {"user_id": user, "key": key, "job_id": job_id, "hash": digest.hex()}
        for user, key, job_id, digest in keys
    ]
    taken = await uow.execute(_TAKE_KEYS, {"rows": orjson.dumps(rows).decode()})
    return {row.job_id for row in taken}


async def free_keys(uow: UnitOfWork, jobs: Sequence[UUID]) -> None:
    """Free the keys of jobs that were refused after all."""
    await uow.execute("delete from app.job_key where job_id = any(:jobs)", {"jobs": list(jobs)})


async def find_by_keys(
    uow: UnitOfWork, keys: Sequence[tuple[UUID, str]]
) -> dict[tuple[UUID, str], tuple[JobView, bytes]]:
    """The job and request hash that each (user, idempotency key) stands for."""
    rows = await uow.execute(
        f"""
        select k.key, k.request_hash, v.* from unnest(cast(:users as uuid[]),
          cast(:keys as text[])) as asked(user_id, key)
        join app.job_key k using (user_id, key), lateral ({_VIEW} where j.job_id = k.job_id) as v
        """,
        {"users": [user for user, _ in keys], "keys": [key for _, key in keys]},
    )
    found = {}
    for row in rows.mappings():
        values = dict(row)
        key, digest = values.pop("key"), bytes(values.pop("request_hash"))
        found[values["user_id"], key] = (JobView(**values), digest)
    return found


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


async def standings(uow: UnitOfWork, job_ids: Sequence[UUID]) -> list[Standing]:
    """How far those of the jobs are that the reader may see."""
    return [Standing(*row) for row in await uow.fetch(_STANDINGS, list(job_ids))]


async def copy_steps(
    uow: UnitOfWork, source: UUID, target: UUID, user_id: UUID, paths: Sequence[str]
) -> int:
    """Give a run the results of steps of another one of the same user; returns how many."""
    done = await uow.execute(
        _COPY_STEPS, {"source": source, "target": target, "user": user_id, "paths": list(paths)}
    )
    return int(done.rowcount)
