"""The SQL of steps as people and forks see them. Readers' own rights say whose steps they find."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from app.kernel.uow import UnitOfWork
from app.orchestration.workflow.steps import StepResult

_LIVE = ("step.started", "step.retrying")
_OVER = ("step.finished", "step.failed")

# The newest line of each step: waits are rows of their own, a line tells of every other.
_NOTES = """
with told as (
  select data ->> 'path' as path, seq, kind, data, created_at from app.job_events
  where job_id = :job and kind = any(:kinds) and data ->> 'path' = any(:paths)
  union all
  select path, seq, 'step.waiting', jsonb_strip_nulls(jsonb_build_object(
    'until', due_at, 'title', title)), since
  from app.job_waits where job_id = :job and path = any(:paths))
select distinct on (path) path, kind, data, min(created_at) over (partition by path) as first_at
from told order by path, seq desc
"""

# A map has a row only if it failed for its list; a line tells its end, its items its beginning.
_MAPS = """
select m.name as path,
  (select kind from app.job_events where job_id = :job and kind = any(:over)
    and data ->> 'path' = m.name limit 1) as told,
  least(
    (select min(started_at) from app.job_steps
      where job_id = :job and starts_with(path, m.name || '[')),
    (select min(created_at) from app.job_events
      where job_id = :job and kind = any(:live) and starts_with(data ->> 'path', m.name || '[')),
    (select min(since) from app.job_waits
      where job_id = :job and starts_with(path, m.name || '['))) as started_at
from unnest(cast(:names as text[])) as m(name)
"""


@dataclass(frozen=True, slots=True)
class StepRow:
    """How a step ended, without its output."""

    path: str
    status: str
    attempt: int
    error: dict[str, Any] | None
    started_at: datetime
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class StepNote:
    """The newest line of the trace that tells of a step on its way."""

    path: str
    kind: str
    data: dict[str, Any]
    first_at: datetime


@dataclass(frozen=True, slots=True)
class MapNote:
    """What is known of a map: the line that told its end, and when its first item began."""

    path: str
    told: str | None
    started_at: datetime | None


async def ended(uow: UnitOfWork, job_id: UUID, paths: Sequence[str]) -> dict[str, StepRow]:
    """Those of the steps that have ended."""
    rows = await uow.execute(
        "select path, status, attempt, error, started_at, ended_at from app.job_steps"
        " where job_id = :job and path = any(:paths)",
        {"job": job_id, "paths": list(paths)},
    )
    return {row["path"]: StepRow(**row) for row in rows.mappings()}


async def notes(uow: UnitOfWork, job_id: UUID, paths: Sequence[str]) -> dict[str, StepNote]:
    """What the trace told last of those of the steps that have started or wait."""
    rows = await uow.execute(_NOTES, {"job": job_id, "paths": list(paths), "kinds": list(_LIVE)})
    return {row["path"]: StepNote(**row) for row in rows.mappings()}


async def maps(uow: UnitOfWork, job_id: UUID, names: Sequence[str]) -> dict[str, MapNote]:
    """What is known of the workflow's own maps of these names."""
    rows = await uow.execute(
        _MAPS, {"job": job_id, "names": list(names), "over": list(_OVER), "live": list(_LIVE)}
    )
    return {row["path"]: MapNote(**row) for row in rows.mappings()}


async def successes(uow: UnitOfWork, job_ids: Sequence[UUID]) -> dict[UUID, list[str]]:
    """The paths of the steps that succeeded, by job."""
    found: dict[UUID, list[str]] = {}
    for row in await uow.execute(
        "select job_id, path from app.job_steps where job_id = any(:jobs) and status = 'Success'",
        {"jobs": list(job_ids)},
    ):
        found.setdefault(row.job_id, []).append(row.path)
    return found


async def outputs(uow: UnitOfWork, job_id: UUID, paths: Sequence[str]) -> dict[str, Any]:
    """The outputs of some steps by path."""
    rows = await uow.execute(
        "select path, output from app.job_steps where job_id = :job and path = any(:paths)",
        {"job": job_id, "paths": list(paths)},
    )
    return {row.path: row.output for row in rows}


async def results(uow: UnitOfWork, job_id: UUID) -> dict[str, StepResult]:
    """The results of a job's steps by path, without the skipped: those follow from the others."""
    rows = await uow.execute(
        "select path, status, output, error from app.job_steps"
        " where job_id = :job and status <> 'Skipped'",
        {"job": job_id},
    )
    return {row.path: StepResult(row.status, row.output, row.error) for row in rows}
