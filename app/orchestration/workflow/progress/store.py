"""The SQL of steps as people and forks see them. Readers' own rights say whose steps they find."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from app.kernel.uow import UnitOfWork
from app.orchestration.workflow.steps import StepResult

_LIVE = ("step.started", "step.retrying", "step.waiting")

# No line of the new job's trace tells of a step that it took over.
_COPY = """
insert into app.job_steps (job_id, path, user_id, attempt, status, output, error, started_at,
  ended_at)
select :target, path, user_id, attempt, status, output, error, started_at, ended_at
from app.job_steps
where job_id = :source and user_id = :user and path = any(:paths) and status <> 'Skipped'
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


async def ended(uow: UnitOfWork, job_id: UUID) -> list[StepRow]:
    """All steps of a job that have ended, in the order in which they did."""
    rows = await uow.execute(
        "select path, status, attempt, error, started_at, ended_at from app.job_steps"
        " where job_id = :job order by ended_at, path",
        {"job": job_id},
    )
    return [StepRow(**row) for row in rows.mappings()]


async def notes(uow: UnitOfWork, job_id: UUID) -> list[StepNote]:
    """What the trace told last of each step that has started or waits."""
    rows = await uow.execute(
        """
        select distinct on (path) path, kind, data,
          min(created_at) over (partition by path) as first_at
        from (select seq, kind, data, created_at, data ->> 'path' as path from app.job_lines
              where job_id = :job and kind = any(:kinds)) as told
        where path is not null order by path, seq desc
        """,
        {"job": job_id, "kinds": list(_LIVE)},
    )
    return [StepNote(**row) for row in rows.mappings()]


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


async def copy(
    uow: UnitOfWork, source: UUID, target: UUID, user_id: UUID, paths: Sequence[str]
) -> int:
    """Give a job the results of another one of the same user; returns how many."""
    done = await uow.execute(
        _COPY, {"source": source, "target": target, "user": user_id, "paths": list(paths)}
    )
    return int(done.rowcount)
