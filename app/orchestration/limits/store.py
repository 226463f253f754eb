"""The SQL of admission: lock limits, look at their lines, write what was decided.

A slot is only written under the row lock of its limit. Limits are locked in one statement, in
the order of their names; after that nothing waits: queue rows are taken with `skip locked`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson

from app.kernel.uow import UnitOfWork
from app.orchestration.limits.lines import PRIORITIES, Candidate, Gate
from app.orchestration.limits.names import default_of, owner_of, scope_of
from app.orchestration.limits.rates import Rate

# A key without a default of its user's lets one job run; other names without one limit nothing.
_LOCK = """
with locked as (
  insert into app.job_limit (name, user_id, scope, inherits)
  select name, user_id, scope, inherits
  from json_to_recordset(cast(:rows as json))
    as a(name text, user_id uuid, scope text, inherits text)
  order by name
  on conflict (name) do update set name = excluded.name
  returning *)
select l.name, l.scope, l.in_use, l.turn, extract(epoch from l.tat)::float8 as tat,
  extract(epoch from l.wake_at)::float8 as wake_at,
  l.is_paused or coalesce(d.is_paused, false) as is_paused,
  case when l.inherits is null then l.max_running when d.name is not null then d.max_running
    when l.scope = 'key' then 1 end as max_running,
  case when l.inherits is null then l.rate_per_minute else d.rate_per_minute end as per_minute,
  case when l.inherits is null then l.burst else d.burst end as burst,
  extract(epoch from clock_timestamp())::float8 as now
from locked l left join app.job_limit d on d.name = l.inherits
"""

# Not that of the partitions, whose upkeep takes as long as it takes.
_LOCK_KEY = 7243120717

# Statistics may be of a table of one row, to which any way is as good as another. So each job is
# looked up by itself (`offset 0`, or a lock), or by `any(array[id])`: app.orchestration.store.

# As many of a line as its limit's ended jobs make room for, and some more: batches of ends of
# many keys would read the product of both.
_SPARE = 16
_NEEDED = f"""
with mine as materialized (
  select name, max(most) as most from (
    select unnest(cast(:names as text[])) as name, cast(:most as int) as most
    union all
    select name, cast(least(count(*) + {_SPARE}, :most) as int) from app.job_slot
    where job_id = any(:jobs) group by name) as asked
  group by name),
heads as (
  select w.job_id from mine m cross join lateral (
    select job_id from app.job_slot s where s.name = m.name and s.is_in_line
    order by s.turn, s.priority desc, s.job_id limit m.most) w)
select name from mine
union select s.name from heads h cross join lateral (
  select name from app.job_slot s where s.job_id = h.job_id offset 0) s
"""

_HEADS = """
with heads as materialized (
  select n.name as line, w.job_id
  from unnest(cast(:names as text[]), cast(:counts as int[])) as n(name, most)
  cross join lateral (
    select job_id from app.job_slot s where s.name = n.name and s.is_in_line
    order by s.turn, s.priority desc, s.job_id limit n.most) w),
taken as materialized (
  select h.line, h.job_id, l.job_id is not null as is_locked
  from heads h left join lateral (
    select q.job_id from app.job_queue q where q.job_id = any(array[h.job_id])
    for update skip locked
  ) l on true)
select t.line, t.job_id, t.is_locked, s.name, s.user_id, s.priority, s.turn,
  t.is_locked or exists (
    select 1 from app.job_queue q where q.job_id = any(array[t.job_id])) as is_queued
from taken t cross join lateral (
  select * from app.job_slot s where s.job_id = t.job_id offset 0) s
"""

_RIPE = """
with taken as materialized (
  select q.job_id from app.job_queue q where q.job_id = any(:jobs) for update skip locked)
select cast(null as text) as line, t.job_id, true as is_locked, true as is_queued,
  s.name, s.user_id, s.priority, s.turn
from taken t cross join lateral (
  select * from app.job_slot s where s.job_id = t.job_id offset 0) s
where s.due_at <= clock_timestamp()
"""

_LASTS = """
select a.name, a.user_id, p.priority, w.turn
from unnest(cast(:names as text[]), cast(:users as uuid[])) as a(name, user_id)
cross join unnest(cast(:priorities as int[])) as p(priority)
cross join lateral (
  select turn from app.job_slot s
  where s.user_id = a.user_id and s.name = a.name and s.is_in_line and s.priority = p.priority
  order by turn desc limit 1) w
"""

_WRITE = """
with kept as (
  insert into app.job_slot
    (job_id, name, user_id, priority, turn, is_held, is_in_line, due_at)
  select job_id, name, user_id, priority, turn, is_held, is_in_line, to_timestamp(due)
  from json_to_recordset(cast(:slots as json)) as a(job_id uuid, name text, user_id uuid,
    priority smallint, turn bigint, is_held boolean, is_in_line boolean, due float8)
  on conflict (job_id, name) do update set turn = excluded.turn, is_held = excluded.is_held,
    is_in_line = excluded.is_in_line, due_at = excluded.due_at),
started as (
  update app.job_queue q set run_at = coalesce(to_timestamp(a.at), now()), parked_as = null
  from json_to_recordset(cast(:starts as json)) as a(job_id uuid, at float8)
  where q.job_id = any(array[a.job_id]))
update app.job_limit l
set in_use = g.in_use, turn = g.turn, tat = to_timestamp(g.tat), wake_at = to_timestamp(g.wake)
from json_to_recordset(cast(:gates as json))
  as g(name text, in_use int, turn bigint, tat float8, wake float8)
where l.name = g.name
"""

_RECOUNT = """
select n.name,
  (select count(*) from app.job_slot s where s.name = n.name and s.is_held) as held,
  exists (select 1 from app.job_slot s where s.name = n.name and s.is_in_line) as is_waited
from unnest(cast(:names as text[])) as n(name)
"""

# Held ones without a job; those in a line are found when it is their turn.
_ORPHANS = """
delete from app.job_slot s
where s.name = any(:names) and s.is_held
  and not exists (select 1 from app.job_queue q where q.job_id = any(array[s.job_id]))
"""

_FORGET = """
delete from app.job_limit l
where l.name = any(:names) and l.inherits is not null and (l.tat is null or l.tat < now())
  and not exists (select 1 from app.job_slot s where s.name = l.name)
"""


@dataclass(frozen=True, slots=True)
class Slot:
    """A row of `job_slot` to be written; `due` in seconds of the epoch."""

    job_id: UUID
    name: str
    user_id: UUID
    priority: int
    turn: int | None
    is_held: bool = False
    is_in_line: bool = False
    due: float | None = None


@dataclass(slots=True)
class Heads:
    """The first of some lines: those locked, how many each line gave, what could not be had."""

    waiting: list[Candidate]
    counts: dict[str, int]
    skipped: set[str]
    orphans: set[UUID]


def _json(rows: Sequence[Mapping[str, Any] | Slot]) -> str:
    return orjson.dumps(rows).decode()


async def lock(uow: UnitOfWork, names: Collection[str]) -> tuple[dict[str, Gate], float]:
    """Lock limits, made where there are none, in the order of their names; and the time."""
    rows = [
        {"name": n, "user_id": owner_of(n), "scope": scope_of(n), "inherits": default_of(n)}
        for n in sorted(names)
    ]
    found = (await uow.execute(_LOCK, {"rows": _json(rows)})).all()
    return {row.name: _gate(row) for row in found}, found[0].now


def _gate(row: Any) -> Gate:
    rate = None if row.per_minute is None else Rate(row.per_minute, row.burst or 1)
    return Gate(
        name=row.name,
        scope=row.scope,
        max_running=row.max_running,
        rate=rate,
        is_paused=row.is_paused,
        in_use=row.in_use,
        tat=row.tat,
        turn=row.turn,
        wake_at=row.wake_at,
    )


async def needed(
    uow: UnitOfWork, names: Collection[str], jobs: Collection[UUID], most: int
) -> set[str]:
    """The limits to lock: those named, those of jobs, those of the first in their lines.

    Of a line no more than `most` are looked at.
    """
    rows = await uow.execute(_NEEDED, {"names": list(names), "jobs": list(jobs), "most": most})
    return {row.name for row in rows}


async def heads(uow: UnitOfWork, counts: Mapping[str, int]) -> Heads:
    """The first so many of each line, their queue rows locked."""
    rows = await uow.execute(_HEADS, {"names": list(counts), "counts": list(counts.values())})
    found = Heads([], dict.fromkeys(counts, 0), set(), set())
    seen: dict[UUID, Candidate] = {}
    for row in rows:
        is_new = row.job_id not in seen
        one = _collect(seen, row)
        if not is_new:
            continue
        found.counts[row.line] += 1
        if row.is_locked:
            found.waiting.append(one)
        elif row.is_queued:
            found.skipped.add(row.line)
        else:
            found.orphans.add(row.job_id)
    return found


async def ripe(uow: UnitOfWork, jobs: Collection[UUID]) -> list[Candidate]:
    """Those of the jobs that are due, their queue rows locked."""
    seen: dict[UUID, Candidate] = {}
    for row in await uow.execute(_RIPE, {"jobs": list(jobs)}):
        _collect(seen, row)
    return sorted(seen.values(), key=lambda one: one.job_id)


def _collect(seen: dict[UUID, Candidate], row: Any) -> Candidate:
    one = seen.get(row.job_id)
    if one is None:
        one = Candidate(row.job_id, row.user_id, row.priority, [], {}, row.line)
        seen[row.job_id] = one
    one.names = [*one.names, row.name]
    if row.turn is not None:
        one.turns[row.name] = row.turn
    return one


async def lasts(
    uow: UnitOfWork, pairs: Collection[tuple[str, UUID]]
) -> dict[tuple[str, UUID], dict[int, int]]:
    """The last turn of users in lines, by priority."""
    asked = sorted(pairs)
    rows = await uow.execute(
        _LASTS,
        {
            "names": [name for name, _ in asked],
            "users": [user for _, user in asked],
            "priorities": list(PRIORITIES),
        },
    )
    found: dict[tuple[str, UUID], dict[int, int]] = {}
    for row in rows:
        found.setdefault((row.name, row.user_id), {})[row.priority] = row.turn
    return found


async def free(uow: UnitOfWork, jobs: Collection[UUID]) -> dict[str, int]:
    """Delete the slots of jobs; how many each limit was held by."""
    rows = await uow.execute(
        "delete from app.job_slot where job_id = any(:jobs) returning name, is_held",
        {"jobs": list(jobs)},
    )
    freed: dict[str, int] = {}
    for row in rows:
        freed[row.name] = freed.get(row.name, 0) + int(row.is_held)
    return freed


async def write(
    uow: UnitOfWork,
    slots: Sequence[Slot],
    starts: Mapping[UUID, float | None],
    gates: Sequence[Gate],
) -> None:
    """Write slots, make jobs ready at their times (None: now), keep the state of limits."""
    await uow.execute(
        _WRITE,
        {
            "slots": _json(slots),
            "starts": _json([{"job_id": job, "at": at} for job, at in starts.items()]),
            "gates": _json(
                [
                    {"name": g.name, "in_use": g.in_use, "turn": g.turn, "tat": g.tat}
                    | {"wake": g.wake_at}
                    for g in gates
                ]
            ),
        },
    )


async def due_names(uow: UnitOfWork, limit: int) -> list[str]:
    """Limits whose lines are to be looked at now."""
    rows = await uow.execute(
        """
        select name from app.job_limit where wake_at <= clock_timestamp()
        order by wake_at limit :limit
        """,
        {"limit": limit},
    )
    return [row.name for row in rows]


async def due_jobs(uow: UnitOfWork, limit: int) -> set[UUID]:
    """Jobs whose time to stand in line has come."""
    rows = await uow.execute(
        """
        select job_id from app.job_slot where due_at <= clock_timestamp()
        order by due_at limit :limit
        """,
        {"limit": limit},
    )
    return {row.job_id for row in rows}


async def try_alone(uow: UnitOfWork) -> bool:
    """Whether no other process does the upkeep of limits during this transaction."""
    rows = await uow.execute("select pg_try_advisory_xact_lock(:key) as mine", {"key": _LOCK_KEY})
    return bool(rows.scalar_one())


async def names_after(uow: UnitOfWork, after: str, limit: int) -> list[str]:
    """A page of all limits, for the sweep."""
    rows = await uow.execute(
        "select name from app.job_limit where name > :after order by name limit :limit",
        {"after": after, "limit": limit},
    )
    return [row.name for row in rows]


async def recount(uow: UnitOfWork, names: Collection[str]) -> dict[str, tuple[int, bool]]:
    """Of locked limits: how many jobs hold each, and whether any waits; orphans are deleted."""
    await uow.execute(_ORPHANS, {"names": list(names)})
    rows = await uow.execute(_RECOUNT, {"names": list(names)})
    return {row.name: (int(row.held), bool(row.is_waited)) for row in rows}


async def forget(uow: UnitOfWork, names: Collection[str]) -> None:
    """Delete locked limits without numbers of their own that no job needs."""
    await uow.execute(_FORGET, {"names": list(names)})
