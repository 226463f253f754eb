"""The SQL of the book: set, remove, list limits; show their lines. Locks one limit at most,
and those that inherit from it in the order of their names.
"""

from collections.abc import Sequence
from uuid import UUID

from app.kernel.uow import UnitOfWork
from app.orchestration.limits.names import default_of, owner_of, scope_of
from app.orchestration.limits.types import Limit, Numbers, Waiting

SHOWN = 10_000
"""How much of a line is counted and shown."""

_VIEW = """
select l.name, l.user_id, l.scope, l.inherits,
  case when l.inherits is null then l.max_running when d.name is not null then d.max_running
    when l.scope = 'key' then 1 end as max_running,
  case when l.inherits is null then l.rate_per_minute else d.rate_per_minute end
    as rate_per_minute,
  case when l.inherits is null then l.burst else d.burst end as burst,
  l.is_paused or coalesce(d.is_paused, false) as is_paused, l.in_use as running,
  (select count(*) from (select 1 from app.job_slot s
    where s.name = l.name and s.is_in_line limit :shown) as line) as waiting
from app.job_limit l left join app.job_limit d on d.name = l.inherits
"""

# What is booked ahead at a slow rate must not hold up a faster one: it shrinks with the period.
_SET = """
insert into app.job_limit as l
  (name, user_id, scope, max_running, rate_per_minute, burst, is_paused, wake_at)
values (:name, :owner, :scope, :running, :rate, :burst, :paused, now())
on conflict (name) do update set inherits = null, max_running = excluded.max_running,
  rate_per_minute = excluded.rate_per_minute, burst = excluded.burst,
  is_paused = excluded.is_paused, wake_at = excluded.wake_at,
  tat = case when l.tat > now() and excluded.rate_per_minute > l.rate_per_minute
    then now() + (l.tat - now()) * (l.rate_per_minute::float8 / excluded.rate_per_minute)
    else l.tat end
"""

_UNSET = """
update app.job_limit set inherits = :default, max_running = null, rate_per_minute = null,
  burst = null, is_paused = false, wake_at = now()
where name = :name and inherits is null returning name
"""

_WAKE = """
with heirs as (
  select name from app.job_limit l where l.inherits = :name
    and exists (select 1 from app.job_slot s where s.name = l.name and s.is_in_line)
  order by name for update)
update app.job_limit l set wake_at = now() from heirs h where l.name = h.name
"""

_LINE = """
select job_id, user_id, priority, turn, position from (
  select s.job_id, s.user_id, s.priority, s.turn,
    row_number() over (order by s.turn, s.priority desc, s.job_id) as position
  from app.job_slot s where s.name = :name and s.is_in_line
  order by s.turn, s.priority desc, s.job_id limit :shown) as line
where (cast(:user as uuid) is null or user_id = :user)
  and (cast(:turn as bigint) is null
    or (turn, -priority, job_id) > (:turn, -cast(:priority as int), cast(:job as uuid)))
order by position limit :limit
"""


async def set_numbers(uow: UnitOfWork, name: str, numbers: Numbers) -> None:
    """Give a limit numbers of its own; it is looked at next."""
    has_rate = numbers.rate_per_minute is not None
    await uow.execute(
        _SET,
        {
            "name": name,
            "owner": owner_of(name),
            "scope": scope_of(name),
            "running": numbers.max_running,
            "rate": numbers.rate_per_minute,
            "burst": numbers.burst if has_rate else None,
            "paused": numbers.is_paused,
        },
    )


async def unset(uow: UnitOfWork, name: str) -> bool:
    """Take a limit's own numbers away; whether it had any."""
    if (default := default_of(name)) is None:
        rows = await uow.execute(
            "delete from app.job_limit where name = :name returning name", {"name": name}
        )
    else:
        rows = await uow.execute(_UNSET, {"name": name, "default": default})
    return rows.one_or_none() is not None


async def wake_heirs(uow: UnitOfWork, name: str) -> None:
    """Have the lines looked at that a default's numbers apply to."""
    await uow.execute(_WAKE, {"name": name})


async def platform_names(uow: UnitOfWork) -> list[str]:
    """The limits of users and tools that have numbers of their own."""
    rows = await uow.execute(
        "select name from app.job_limit where user_id is null and inherits is null"
    )
    return [row.name for row in rows]


async def get(uow: UnitOfWork, name: str) -> Limit | None:
    """A limit as it stands."""
    rows = await uow.execute(_VIEW + " where l.name = :name", {"name": name, "shown": SHOWN})
    row = rows.mappings().one_or_none()
    return None if row is None else Limit(**row)


async def of_user(uow: UnitOfWork, user_id: UUID, after: str, limit: int) -> Sequence[Limit]:
    """A user's own limits, by name: those set, and those that jobs hold or wait for."""
    rows = await uow.execute(
        _VIEW + " where l.user_id = :user and l.name > :after order by l.name limit :limit",
        {"user": user_id, "after": after, "limit": limit, "shown": SHOWN},
    )
    return [Limit(**row) for row in rows.mappings()]


async def of_platform(uow: UnitOfWork, after: str, limit: int) -> Sequence[Limit]:
    """The platform's limits with numbers of their own, by name."""
    rows = await uow.execute(
        _VIEW
        + " where l.user_id is null and l.inherits is null and l.name > :after"
        + " order by l.name limit :limit",
        {"after": after, "limit": limit, "shown": SHOWN},
    )
    return [Limit(**row) for row in rows.mappings()]


async def holders(uow: UnitOfWork, name: str, user_id: UUID | None, limit: int) -> list[UUID]:
    """The first jobs that hold a limit, oldest first; only a user's if one is named."""
    rows = await uow.execute(
        """
        select job_id from app.job_slot where name = :name and is_held
          and (cast(:user as uuid) is null or user_id = :user)
        order by job_id limit :limit
        """,
        {"name": name, "user": user_id, "limit": limit},
    )
    return [row.job_id for row in rows]


async def line(
    uow: UnitOfWork,
    name: str,
    user_id: UUID | None,
    after: tuple[int, int, UUID] | None,
    limit: int,
) -> list[tuple[Waiting, int]]:
    """A page of a line with each job's turn, after (turn, priority, job)."""
    turn, priority, job = after or (None, None, None)
    rows = await uow.execute(
        _LINE,
        {
            "name": name,
            "user": user_id,
            "turn": turn,
            "priority": priority,
            "job": job,
            "limit": limit,
            "shown": SHOWN,
        },
    )
    return [(Waiting(r.job_id, r.user_id, r.priority, r.position), r.turn) for r in rows]
