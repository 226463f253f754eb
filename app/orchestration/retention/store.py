"""The SQL of retention. What changes tables is done by functions of their owner: they wait 100 ms
for a lock at most, so that nobody queues behind them for longer.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from app.kernel.uow import UnitOfWork

# A job's row goes last: while it is there, so is what belongs to it.
TABLES = ("job_events", "job_steps", "processing_jobs")

_LOCK = 7243120716
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_PARTITIONS = """
select p.relation, p.name, p.low, p.high, p.is_rest, p.row_estimate, p.bytes,
  not p.is_rest and exists (
    select from app.job_queue q
    where q.job_id >= coalesce(p.low, '00000000-0000-0000-0000-000000000000')
      and q.job_id < p.high) as is_living
from app.partitions() p order by p.relation, p.is_rest, p.high
"""

_ORPHANS = """
delete from app.{table} where ctid = any(array(
  select o.ctid from app.{table} o
  where o.job_id < app.day_id(:before) and {condition}
    and not exists (select from app.processing_jobs j where j.job_id = o.job_id)
  order by o.job_id limit :limit))
"""
_EVENTS = """
delete from app.outbox where ctid = any(array(
  select e.ctid from app.outbox e
  where e.event_id < app.day_id(:before) and e.done_at < cast(:before as date)
  order by e.event_id limit :limit))
"""
# By table, in the order in which they are cleaned. Accounts and holds stay: they are the ledger's.
CLEANUPS = {
    table: _ORPHANS.format(table=table, condition=condition)
    for table, condition in {
        "job_key": "true",
        "job_waits": "true",
        "dead_letter": "true",
        "agent_runs": "true",
        "files": "o.kind = 'artifact'",
    }.items()
} | {"outbox": _EVENTS}


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition: days from `first` up to but without `until`; None is without a bound.

    `is_rest` is the one for ids that no other covers. `row_estimate` is the planner's, of the last
    analysis. `is_living`: a job made in these days has not ended.
    """

    table: str
    name: str
    first: date | None
    until: date | None
    is_rest: bool
    row_estimate: int
    bytes: int
    is_living: bool


def _day(bound: UUID | None) -> date | None:
    """The day of a bound: an id of version 7 begins with 48 bits of milliseconds."""
    return None if bound is None else (_EPOCH + timedelta(milliseconds=bound.int >> 80)).date()


async def lock(uow: UnitOfWork) -> None:
    """Wait until no other process keeps the partitions; until the end of the transaction."""
    await uow.execute("select pg_advisory_xact_lock(:key)", {"key": _LOCK})


async def today(uow: UnitOfWork) -> date:
    """The day by the database's clock, UTC."""
    day: date = (await uow.execute("select (now() at time zone 'utc')::date")).scalar_one()
    return day


async def partitions(uow: UnitOfWork) -> list[Partition]:
    """All partitions by table, the oldest first, the rest last."""
    return [_partition(row) for row in await uow.execute(_PARTITIONS)]


def _partition(row: Any) -> Partition:
    return Partition(
        table=row.relation,
        name=row.name,
        first=_day(row.low),
        until=_day(row.high),
        is_rest=row.is_rest,
        row_estimate=row.row_estimate,
        bytes=row.bytes,
        is_living=row.is_living,
    )


async def make(uow: UnitOfWork, table: str, first: date, until: date) -> str:
    """Make a partition; what of it is in the rest moves there.

    Returns `made`; `kept` if some partition covers a part of it; `crowded` if more is in the rest
    than can be moved at once, and nothing was done.
    """
    rows = await uow.execute(
        "select app.make_partition(:table, :first, :until)",
        {"table": table, "first": first, "until": until},
    )
    return str(rows.scalar_one())


async def drop(uow: UnitOfWork, table: str, before: date) -> str | None:
    """Drop the oldest partition that ends by a day and has no living job; None if none does."""
    rows = await uow.execute(
        "select app.drop_partition(:table, :before)", {"table": table, "before": before}
    )
    name: str | None = rows.scalar_one()
    return name


async def delete_overflow(uow: UnitOfWork, table: str, before: date, limit: int) -> int:
    """Delete from the rest what was made before a day, of jobs that have ended; how many."""
    rows = await uow.execute(
        "select app.delete_overflow(:table, :before, :limit)",
        {"table": table, "before": before, "limit": limit},
    )
    return int(rows.scalar_one())


async def clean(uow: UnitOfWork, table: str, before: date, limit: int) -> int:
    """Delete rows of jobs made before a day that are gone, or events delivered by then."""
    rows = await uow.execute(CLEANUPS[table], {"before": before, "limit": limit})
    return int(rows.rowcount)
