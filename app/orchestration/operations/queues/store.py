"""The SQL of the queue as a whole: what it holds, and which kinds nobody claims.

Nothing here counts a million rows: each number is counted up to a bound in an index that holds
only rows of its kind of waiting, and the ready ones of each kind are found by skipping through
their index.
"""

from typing import Any

from app.kernel.uow import UnitOfWork

COUNTED = 10_000

# A loose index scan: one probe a kind, however many rows a kind has.
_KINDS = """
with recursive ready as (
  (select kind from app.job_queue where place is not null order by kind limit 1)
  union all
  select (select q.kind from app.job_queue q where q.place is not null and q.kind > r.kind
    order by q.kind limit 1) from ready r where r.kind is not null),
known as (
  select kind from ready where kind is not null
  union select kind from app.queue_pause
  union select unnest(cast(:kinds as text[])))
"""

# Places grow with time, so the first that waits is the oldest, or nearly.
_BY_KIND = (
    _KINDS
    + """
select k.kind, p.reason, p.paused_at, r.ready, r.running,
  coalesce(extract(epoch from now() - f.run_at), 0)::float8 as oldest_s
from known k
left join app.queue_pause p using (kind)
cross join lateral (
  select count(*) filter (where not is_leased) as ready,
    count(*) filter (where is_leased) as running
  from (select coalesce(lease_until > now(), false) as is_leased from app.job_queue q
    where q.kind = k.kind and place is not null order by place limit :most) as counted) as r
left join lateral (
  select run_at from app.job_queue q
  where q.kind = k.kind and place is not null and (lease_until is null or lease_until < now())
  order by place limit 1) as f on true
order by k.kind
"""
)

# Parked for ever are those that wait for a person, a child or a limit; the rest have a time. In the
# order of one index: walked along another, all that is ready may come first.
_LATER = """
select f.future, p.waiting, p.limited from (
  select count(*) as future from (select 1 from app.job_queue
    where place is null and run_at < 'infinity' order by run_at limit :most) as timed) as f, (
  select count(*) filter (where parked_as = 'Waiting') as waiting,
    count(*) filter (where parked_as = 'Limited') as limited
  from (select parked_as from app.job_queue
    where place is null and run_at >= 'infinity' order by run_at limit :most) as parked) as p
"""


async def guard(uow: UnitOfWork, *, is_on: bool) -> None:
    """Keep this transaction to its indexes, or let it go again.

    Statistics that are older than a flood say that sorting the queue is cheaper than walking it.
    """
    value = "off" if is_on else "on"
    names = ("enable_seqscan", "enable_bitmapscan", "enable_sort")
    calls = ", ".join(f"set_config('{name}', '{value}', true)" for name in names)
    await uow.execute(f"select {calls}")


async def by_kind(uow: UnitOfWork, kinds: list[str]) -> list[Any]:
    """Ready and running jobs of each kind, its oldest that waits, its pause."""
    return list(await uow.execute(_BY_KIND, {"kinds": kinds, "most": COUNTED}))


async def later(uow: UnitOfWork) -> tuple[int, int, int]:
    """Jobs of all kinds that are not ready: due later, waiting, behind a limit."""
    row = (await uow.execute(_LATER, {"most": COUNTED})).one()
    return row.future, row.waiting, row.limited


async def pause(uow: UnitOfWork, kind: str, reason: str) -> None:
    """Let nobody claim jobs of a kind; a repeat replaces the reason."""
    await uow.execute(
        "insert into app.queue_pause (kind, reason) values (:kind, :reason)"
        " on conflict (kind) do update set reason = excluded.reason",
        {"kind": kind, "reason": reason},
    )


async def resume(uow: UnitOfWork, kind: str) -> bool:
    """Let jobs of a kind be claimed again; False if they could be."""
    rows = await uow.execute(
        "delete from app.queue_pause where kind = :kind returning kind", {"kind": kind}
    )
    return rows.one_or_none() is not None
