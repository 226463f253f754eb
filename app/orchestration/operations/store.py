"""The SQL of schedules. Their moments are compared with the database's clock only."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
from psycopg.types.json import Jsonb

from app.kernel.uow import UnitOfWork
from app.orchestration.operations.types import Moment, Schedule, ScheduleSpec

KEPT_MOMENTS = 1000

_SELECT = """
select schedule_id, user_id, project_id, name, cron, time_zone, job, priority, limit_key,
  webhook_id, catch_up, catch_up_limit, overlap, is_paused, version, next_at, last_at, last_job_id,
  last_error, created_at, updated_at
from app.job_schedule
"""

_INSERT = """
insert into app.job_schedule (schedule_id, user_id, project_id, name, cron, time_zone, job,
  priority, limit_key, webhook_id, catch_up, catch_up_limit, overlap, is_paused, next_at)
values (:schedule_id, :user_id, :project_id, :name, :cron, :time_zone, :job, :priority,
  :limit_key, :webhook_id, :catch_up, :catch_up_limit, :overlap, :is_paused, :next_at)
on conflict (user_id, name) do nothing
returning schedule_id
"""

_UPDATE = """
update app.job_schedule set name = :name, cron = :cron, time_zone = :time_zone, job = :job,
  priority = :priority, limit_key = :limit_key, webhook_id = :webhook_id, catch_up = :catch_up,
  catch_up_limit = :catch_up_limit, overlap = :overlap, is_paused = :is_paused,
  next_at = :next_at, version = version + 1, updated_at = now()
where schedule_id = :schedule_id
"""

_RECORD = """
insert into app.schedule_moment (schedule_id, moment, user_id, outcome, job_id, error)
select :schedule, moment, :user, outcome, job_id, error
from json_to_recordset(cast(:rows as json)) as m(moment timestamptz, outcome text, job_id uuid,
  error jsonb)
on conflict (schedule_id, moment) do update
  set outcome = excluded.outcome, job_id = excluded.job_id, error = excluded.error,
    created_at = now()
  where app.schedule_moment.job_id is null
"""

_PRUNE = """
delete from app.schedule_moment where schedule_id = :schedule and moment < (
  select moment from app.schedule_moment where schedule_id = :schedule
  order by moment desc offset :kept limit 1)
"""


async def now(uow: UnitOfWork) -> datetime:
    """The database's clock, at the start of the transaction."""
    moment: datetime = (await uow.execute("select now()")).scalar_one()
    return moment


def _schedule(row: Any) -> Schedule:
    spec = ScheduleSpec(
        name=row.name,
        cron=row.cron,
        job=row.job,
        time_zone=row.time_zone,
        priority=row.priority,
        limit_key=row.limit_key,
        webhook_id=row.webhook_id,
        catch_up=row.catch_up,
        catch_up_limit=row.catch_up_limit,
        overlap=row.overlap,
        is_paused=row.is_paused,
    )
    return Schedule(
        schedule_id=row.schedule_id,
        user_id=row.user_id,
        project_id=row.project_id,
        spec=spec,
        version=row.version,
        next_at=row.next_at,
        last_at=row.last_at,
        last_job_id=row.last_job_id,
        last_error=row.last_error,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _columns(spec: ScheduleSpec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "cron": spec.cron,
        "time_zone": spec.time_zone,
        "job": Jsonb(dict(spec.job)),
        "priority": spec.priority,
        "limit_key": spec.limit_key,
        "webhook_id": spec.webhook_id,
        "catch_up": spec.catch_up,
        "catch_up_limit": spec.catch_up_limit,
        "overlap": spec.overlap,
        "is_paused": spec.is_paused,
    }


async def insert(
    uow: UnitOfWork,
    schedule_id: UUID,
    user_id: UUID,
    project_id: UUID | None,
    spec: ScheduleSpec,
    next_at: datetime | None,
) -> bool:
    """Insert a schedule; False if the user has one of that name."""
    made = await uow.execute(
        _INSERT,
        _columns(spec)
        | {
            "schedule_id": schedule_id,
            "user_id": user_id,
            "project_id": project_id,
            "next_at": next_at,
        },
    )
    return made.one_or_none() is not None


async def update(
    uow: UnitOfWork, schedule_id: UUID, spec: ScheduleSpec, next_at: datetime | None
) -> None:
    """Write what the owner now says; the caller holds the row and has looked at the name."""
    await uow.execute(_UPDATE, _columns(spec) | {"schedule_id": schedule_id, "next_at": next_at})


async def lock_names(uow: UnitOfWork, user_id: UUID) -> None:
    """One change of a user's schedules at a time, so that names and their number hold."""
    await uow.execute(
        "select pg_advisory_xact_lock(hashtextextended('app.job_schedule:' || :user, 0))",
        {"user": str(user_id)},
    )


async def is_name_taken(uow: UnitOfWork, user_id: UUID, name: str, but: UUID) -> bool:
    """Whether another schedule of the user has that name."""
    rows = await uow.execute(
        "select 1 from app.job_schedule where user_id = :user and name = :name"
        " and schedule_id <> :but",
        {"user": user_id, "name": name, "but": but},
    )
    return rows.first() is not None


async def get(
    uow: UnitOfWork, schedule_id: UUID, user_id: UUID, *, is_locked: bool = False
) -> Schedule | None:
    """A schedule of a user, perhaps locked against the scheduler and other changes."""
    rows = await uow.execute(
        _SELECT
        + " where schedule_id = :schedule and user_id = :user"
        + (" for update" if is_locked else ""),
        {"schedule": schedule_id, "user": user_id},
    )
    row = rows.one_or_none()
    return None if row is None else _schedule(row)


async def list_of(
    uow: UnitOfWork, user_id: UUID, limit: int, before: UUID | None
) -> list[Schedule]:
    """A user's schedules, newest first."""
    after = "" if before is None else " and schedule_id < :before"
    rows = await uow.execute(
        f"{_SELECT} where user_id = :user{after} order by schedule_id desc limit :limit",
        {"user": user_id, "before": before, "limit": limit},
    )
    return [_schedule(row) for row in rows]


async def count(uow: UnitOfWork, user_id: UUID) -> int:
    """How many schedules a user has."""
    rows = await uow.execute(
        "select count(*) from app.job_schedule where user_id = :user", {"user": user_id}
    )
    return int(rows.scalar_one())


async def delete(uow: UnitOfWork, schedule_id: UUID, user_id: UUID) -> bool:
    """Delete a user's schedule and what is known of its moments."""
    rows = await uow.execute(
        "delete from app.job_schedule where schedule_id = :schedule and user_id = :user"
        " returning schedule_id",
        {"schedule": schedule_id, "user": user_id},
    )
    return rows.one_or_none() is not None


async def due(uow: UnitOfWork, limit: int) -> list[Schedule]:
    """Schedules whose moment has come, the longest due first. None is locked."""
    rows = await uow.execute(
        f"{_SELECT} where not is_paused and next_at <= now() order by next_at limit :limit",
        {"limit": limit},
    )
    return [_schedule(row) for row in rows]


async def lock_due(uow: UnitOfWork, schedule_id: UUID, version: int) -> Schedule | None:
    """Take a due schedule, unless another scheduler has it or its owner has changed it."""
    rows = await uow.execute(
        f"{_SELECT} where schedule_id = :schedule and version = :version and not is_paused"
        " and next_at <= now() for update skip locked",
        {"schedule": schedule_id, "version": version},
    )
    row = rows.one_or_none()
    return None if row is None else _schedule(row)


async def is_alive(uow: UnitOfWork, job_id: UUID) -> bool:
    """Whether a job is still in the queue."""
    rows = await uow.execute("select 1 from app.job_queue where job_id = :job", {"job": job_id})
    return rows.first() is not None


async def known(uow: UnitOfWork, schedule_id: UUID, moments: Sequence[datetime]) -> set[datetime]:
    """Those of the moments that have had their job."""
    rows = await uow.execute(
        "select moment from app.schedule_moment where schedule_id = :schedule"
        " and moment = any(:moments) and job_id is not null",
        {"schedule": schedule_id, "moments": list(moments)},
    )
    return {row.moment for row in rows}


async def record(uow: UnitOfWork, schedule: Schedule, moments: Sequence[Moment]) -> None:
    """Write what became of moments; one that has its job keeps it. Old ones are forgotten."""
    rows = [
        {"moment": m.moment, "outcome": m.outcome, "job_id": m.job_id, "error": m.error}
        for m in moments
    ]
    place = {"schedule": schedule.schedule_id, "user": schedule.user_id}
    await uow.execute(_RECORD, place | {"rows": orjson.dumps(rows).decode()})
    await uow.execute(_PRUNE, {"schedule": schedule.schedule_id, "kept": KEPT_MOMENTS - 1})


async def advance(
    uow: UnitOfWork, schedule: Schedule, next_at: datetime | None, last: Sequence[Moment]
) -> None:
    """Move a locked schedule on; the newest job and the newest error of `last` are noted."""
    jobs = [one for one in last if one.job_id is not None]
    failed = [one for one in last if one.outcome == "Refused"]
    error = {"moment": failed[-1].moment, **(failed[-1].error or {})} if failed else None
    await uow.execute(
        """
        update app.job_schedule set next_at = :next,
          last_at = coalesce(:last_at, last_at), last_job_id = coalesce(:job, last_job_id),
          last_error = case when :is_new then cast(:error as jsonb) else last_error end
        where schedule_id = :schedule
        """,
        {
            "next": next_at,
            "last_at": max((one.moment for one in jobs), default=None),
            "job": jobs[-1].job_id if jobs else None,
            # A moment that went well clears the error of the one before it.
            "is_new": bool(failed or jobs),
            "error": None if error is None else orjson.dumps(error).decode(),
            "schedule": schedule.schedule_id,
        },
    )


async def moments(
    uow: UnitOfWork, schedule_id: UUID, limit: int, before: datetime | None
) -> list[Moment]:
    """What became of a schedule's moments, newest first; the caller knows whose it is."""
    older = "" if before is None else " and moment < :before"
    rows = await uow.execute(
        "select moment, outcome, job_id, error from app.schedule_moment"
        f" where schedule_id = :schedule{older} order by moment desc limit :limit",
        {"schedule": schedule_id, "before": before, "limit": limit},
    )
    return [Moment(row.moment, row.outcome, row.job_id, row.error) for row in rows]
