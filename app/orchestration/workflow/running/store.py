"""The SQL of runs: steps, waits and lines of many jobs at a time.

Whatever is written names the fencing token (`attempt`) of its job and is written only where that
still holds: the queue row is locked against a new claim until the transaction ends. Lock order:
queue rows, then waits.
"""

from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any
from uuid import UUID

import orjson

from app.kernel.uow import UnitOfWork
from app.orchestration.types import Lease
from app.orchestration.workflow.running.records import (
    RETRYING,
    STARTED,
    EndedStep,
    Line,
    NewWait,
    Note,
    OpenWait,
    Park,
    Question,
    Stored,
)
from app.orchestration.workflow.steps import StepResult

# `for key share` lets heartbeats and cancels go on and holds up claims and ends. Every join is a
# look-up by key: the platform's transactions have no hash joins, two lists would cost their
# product. Why by an array of one: app.orchestration.store.
_SAVE_STEPS = """
with mine as materialized (
  select s.*, q.user_id
  from json_to_recordset($1::json) as s(job_id uuid, token int, path text, attempt int,
    status text, output jsonb, error jsonb, started_at timestamptz, ended_at timestamptz,
    started_seq int, seq int)
  join app.job_queue q on q.job_id = any(array[s.job_id]) and q.attempt = s.token
  for key share of q),
saved as (
  insert into app.job_steps (job_id, path, user_id, attempt, status, output, error, started_at,
    ended_at, started_seq, seq)
  select job_id, path, user_id, attempt, status, output, error, started_at, ended_at, started_seq,
    seq
  from mine
  on conflict (job_id, path) do nothing)
select job_id from mine
"""

_SAVE_LINES = """
with mine as materialized (
  select l.*, q.user_id
  from json_to_recordset($1::json)
    as l(job_id uuid, token int, seq int, kind text, data jsonb, once text)
  join app.job_queue q on q.job_id = any(array[l.job_id]) and q.attempt = l.token
  for key share of q),
saved as (
  insert into app.job_events (job_id, seq, user_id, kind, data, once)
  select job_id, seq, user_id, kind, data, once from mine
  on conflict do nothing)
select job_id from mine
"""

_SAVE_WAITS = """
with mine as materialized (
  select w.*, q.user_id
  from json_to_recordset($1::json) as w(job_id uuid, token int, path text, seq int,
    until timestamptz, delay double precision, title text, form jsonb)
  join app.job_queue q on q.job_id = any(array[w.job_id]) and q.attempt = w.token
  for key share of q),
saved as (
  insert into app.job_waits (job_id, path, user_id, seq, due_at, title, form)
  select job_id, path, user_id, seq,
    coalesce(until, now() + make_interval(secs => delay)), title, form
  from mine
  on conflict (job_id, path) do nothing)
select job_id from mine
"""

_LOCK = """
select job_id from app.job_queue
where job_id = any(array(select job_id from json_to_recordset($1::json) as p(job_id uuid)))
order by job_id for update
"""

# An answer locks the queue row too, so one given before this statement is seen here. A job that
# is not ready at once loses its place; whoever stages jobs gives it a new one in time.
_PARK = """
with parked as materialized (
  select p.*, exists (
    select 1 from app.job_waits w where w.job_id = p.job_id and w.answered_at is not null
      and not exists (
        select 1 from app.job_steps s where s.job_id = w.job_id and s.path = w.path)) as is_woken
  from json_to_recordset($1::json)
    as p(job_id uuid, token int, delay double precision, failed int, waits bool))
update app.job_queue q
set lease_until = null, worker = null, failures = q.failures + p.failed,
  place = case when is_woken or q.is_cancel_requested or p.delay = 0 then q.place end,
  parked_as = case when p.waits then 'Waiting' end,
  run_at = case when is_woken or q.is_cancel_requested then now()
    else coalesce(now() + make_interval(secs => p.delay), 'infinity') end
from parked p
where q.job_id = any(array[p.job_id]) and q.attempt = p.token and q.lease_until is not null
returning q.job_id
"""

_LOAD_STEPS = """
select job_id, path, status, output, error, seq from app.job_steps
where job_id = any(cast(:ids as uuid[]))
"""

_LOAD_WAITS = """
select w.job_id, w.path, w.seq, w.title is not null as is_question, w.answer,
  w.answered_at is not null as is_answered,
  extract(epoch from w.due_at - clock_timestamp())::float8 as left_s
from app.job_waits w where w.job_id = any(cast(:ids as uuid[])) for update
"""

_LOAD_NOTES = """
select job_id, seq, kind, data, once, kind = any(:kinds) as is_note,
  extract(epoch from clock_timestamp() - created_at)::float8 as age_s
from app.job_events
where job_id = any(cast(:ids as uuid[])) and (kind = any(:kinds) or once is not null)
order by job_id, seq
"""

_LAST_LINES = """
select job_id, max(seq) as seq from app.job_events
where job_id = any(cast(:ids as uuid[])) group by job_id
"""

# Locked, so that an answer that comes at the last moment is either seen or refused.
_NEWS = """
select job_id, path, answer, answered_at is not null as is_answered from app.job_waits
where job_id = any(cast(:ids as uuid[])) and title is not null
  and (answered_at is not null or due_at <= clock_timestamp())
for update
"""


_QUESTION = """
select w.job_id, w.path, w.user_id, w.title, w.form, w.since as asked_at, w.due_at as expires_at,
  w.answered_at, w.due_at <= clock_timestamp() as is_late
from app.job_waits w
"""

_OPEN = f"""
{_QUESTION} join app.job_queue q using (job_id)
where w.user_id = :user and w.title is not null and w.answered_at is null
  and (cast(:job as uuid) is null or w.job_id = :job)
  and (w.due_at is null or w.due_at > clock_timestamp())
order by w.job_id, w.path limit :limit
"""


async def save_steps(
    uow: UnitOfWork, steps: Sequence[tuple[Lease, Sequence[EndedStep]]]
) -> set[UUID]:
    """Write ended steps of jobs whose token holds; those jobs. A path's first row stands."""
    rows = [_step_row(lease, step) for lease, ended in steps for step in ended]
    return await _save(uow, _SAVE_STEPS, rows)


async def save_lines(uow: UnitOfWork, lines: Sequence[tuple[Lease, Sequence[Line]]]) -> set[UUID]:
    """Add lines to the traces of jobs whose token holds; those jobs."""
    rows = [
        {
            "job_id": lease.job_id,
            "token": lease.attempt,
            "seq": line.seq,
            "kind": line.kind,
            "data": line.data,
            "once": line.once,
        }
        for lease, added in lines
        for line in added
    ]
    return await _save(uow, _SAVE_LINES, rows)


async def save_waits(
    uow: UnitOfWork, waits: Sequence[tuple[Lease, Sequence[NewWait]]]
) -> set[UUID]:
    """Write waits that begin, of jobs whose token holds; those jobs."""
    rows = [
        {
            "job_id": lease.job_id,
            "token": lease.attempt,
            "path": wait.step.path,
            "seq": wait.seq,
            "until": wait.step.until,
            "delay": wait.delay_s,
            "title": wait.step.title,
            "form": wait.step.form,
        }
        for lease, begun in waits
        for wait in begun
    ]
    return await _save(uow, _SAVE_WAITS, rows)


async def park(uow: UnitOfWork, parks: Sequence[tuple[Lease, Park]]) -> set[UUID]:
    """Give leases up whose token holds; those jobs."""
    rows = [
        {
            "job_id": lease.job_id,
            "token": lease.attempt,
            "delay": how.delay_s,
            "failed": int(how.is_failure),
            "waits": how.is_waiting,
        }
        for lease, how in parks
    ]
    body = orjson.dumps(rows).decode()
    await uow.fetch(_LOCK, body)
    return {job_id for (job_id,) in await uow.fetch(_PARK, body)}


async def load(uow: UnitOfWork, job_ids: Sequence[UUID]) -> dict[UUID, Stored]:
    """What earlier runs of jobs have left; the jobs are leased by this transaction."""
    found = {job_id: Stored() for job_id in job_ids}
    ids = {"ids": list(job_ids)}
    for row in await uow.execute(_LOAD_STEPS, ids):
        stored = found[row.job_id]
        stored.seq = max(stored.seq, row.seq or 0)
        if row.status == "Skipped":
            stored.skipped.add(row.path)
        else:
            stored.results[row.path] = StepResult(row.status, row.output, row.error)
    for row in await uow.execute(_LOAD_WAITS, ids):
        found[row.job_id].seq = max(found[row.job_id].seq, row.seq)
        found[row.job_id].waits.append(
            OpenWait(row.path, row.is_question, row.left_s, row.is_answered, row.answer)
        )
    await _load_trace(uow, ids, found)
    return found


async def _load_trace(
    uow: UnitOfWork, ids: Mapping[str, Any], found: Mapping[UUID, Stored]
) -> None:
    for row in await uow.execute(_LOAD_NOTES, {**ids, "kinds": [RETRYING, STARTED]}):
        if row.is_note:
            found[row.job_id].notes.append(Note(row.kind, row.data, row.age_s))
        if row.once is not None:
            found[row.job_id].once.add(row.once)
    for row in await uow.execute(_LAST_LINES, ids):
        found[row.job_id].seq = max(found[row.job_id].seq, row.seq)


async def news(uow: UnitOfWork, job_ids: Sequence[UUID]) -> list[tuple[UUID, OpenWait]]:
    """The questions of these jobs that were answered or have expired."""
    rows = await uow.execute(_NEWS, {"ids": list(job_ids)})
    return [
        (row.job_id, OpenWait(row.path, True, 0.0, row.is_answered, row.answer)) for row in rows
    ]


async def hold(uow: UnitOfWork, job_id: UUID, attempt: int) -> bool:
    """Keep others from claiming a job for this transaction, if the token still holds."""
    rows = await uow.execute(
        "select 1 from app.job_queue where job_id = :job and attempt = :attempt for key share",
        {"job": job_id, "attempt": attempt},
    )
    return rows.one_or_none() is not None


async def question(uow: UnitOfWork, job_id: UUID, path: str, user_id: UUID) -> Question | None:
    """A question of a user, open or not."""
    rows = await uow.execute(
        f"{_QUESTION} where w.job_id = :job and w.path = :path and w.user_id = :user"
        " and w.title is not null",
        {"job": job_id, "path": path, "user": user_id},
    )
    row = rows.mappings().one_or_none()
    return None if row is None else Question(**row)


async def open_questions(
    uow: UnitOfWork, user_id: UUID, job_id: UUID | None, limit: int
) -> list[Question]:
    """What a user's living jobs wait to be answered, the oldest first."""
    rows = await uow.execute(
        _OPEN,
        {"user": user_id, "job": job_id, "limit": limit},
    )
    return [Question(**row) for row in rows.mappings()]


async def lock_job(uow: UnitOfWork, job_id: UUID, user_id: UUID) -> bool:
    """Lock a user's job against being parked or ended; whether it lives."""
    rows = await uow.execute(
        "select 1 from app.job_queue where job_id = :job and user_id = :user for update",
        {"job": job_id, "user": user_id},
    )
    return rows.one_or_none() is not None


async def answer(uow: UnitOfWork, job_id: UUID, path: str, by: UUID, value: Any) -> bool:
    """Answer an open question once, before it expires; the caller holds the job's lock.

    A parked job is due at once.
    """
    rows = await uow.execute(
        """
        update app.job_waits set answer = cast(:answer as jsonb), answered_at = clock_timestamp(),
          answered_by = :by
        where job_id = :job and path = :path and title is not null and answered_at is null
          and (due_at is null or due_at > clock_timestamp())
        returning job_id
        """,
        {"job": job_id, "path": path, "by": by, "answer": orjson.dumps(value).decode()},
    )
    if rows.one_or_none() is None:
        return False
    await uow.execute(
        "update app.job_queue set run_at = now() where job_id = :job and lease_until is null"
        " and place is null",
        {"job": job_id},
    )
    return True


async def _save(uow: UnitOfWork, sql: str, rows: list[dict[str, Any]]) -> set[UUID]:
    # In one order, so that two transactions that share jobs wait for each other in it.
    rows.sort(key=itemgetter("job_id"))
    return {job_id for (job_id,) in await uow.fetch(sql, orjson.dumps(rows).decode())}


def _step_row(lease: Lease, step: EndedStep) -> dict[str, Any]:
    result = step.result
    return {
        "job_id": lease.job_id,
        "token": lease.attempt,
        "path": step.path,
        "attempt": step.attempt,
        "status": result.status,
        "output": result.output if step.body is None else orjson.Fragment(step.body),
        "error": result.error,
        "started_at": step.started_at,
        "ended_at": step.ended_at,
        "started_seq": step.started_seq,
        "seq": step.seq,
    }
