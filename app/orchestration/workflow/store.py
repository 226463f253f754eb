"""The SQL of steps. Callers hold the fenced, elevated transaction of their job."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson

from app.kernel.uow import UnitOfWork
from app.orchestration.workflow.steps import StepResult

RETRYING, WAITING = "step.retrying", "step.waiting"

_SAVE = """
insert into app.job_steps (job_id, path, user_id, attempt, status, output, error, started_at,
  ended_at)
select :job, path, :user, attempt, status, output, error, started_at, ended_at
from json_to_recordset(cast(:rows as json)) as s(path text, attempt int, status text,
  output jsonb, error jsonb, started_at timestamptz, ended_at timestamptz)
on conflict (job_id, path) do nothing
"""


@dataclass(frozen=True, slots=True)
class EndedStep:
    """A step that has ended, as it is stored; `attempt` is the try that gave the result."""

    path: str
    result: StepResult
    attempt: int
    started_at: datetime
    ended_at: datetime


async def load(uow: UnitOfWork, job_id: UUID) -> dict[str, StepResult]:
    """The results of a job's steps by path, without the skipped: those follow from the others."""
    rows = await uow.execute(
        "select path, status, output, error from app.job_steps"
        " where job_id = :job and status <> 'Skipped'",
        {"job": job_id},
    )
    return {row.path: StepResult(row.status, row.output, row.error) for row in rows}


async def load_notes(uow: UnitOfWork, job_id: UUID) -> list[tuple[str, Mapping[str, Any]]]:
    """What the trace says of tries that failed and of waits that began, in order."""
    rows = await uow.execute(
        "select kind, data from app.job_events where job_id = :job and kind = any(:kinds)"
        " order by seq",
        {"job": job_id, "kinds": [RETRYING, WAITING]},
    )
    return [(row.kind, row.data) for row in rows]


async def save(uow: UnitOfWork, job_id: UUID, user_id: UUID, steps: Sequence[EndedStep]) -> None:
    """Write steps that have ended; the first row of a job and path stands."""
    rows = [
        {
            "path": step.path,
            "attempt": step.attempt,
            "status": step.result.status,
            "output": step.result.output,
            "error": step.result.error,
            "started_at": step.started_at,
            "ended_at": step.ended_at,
        }
        for step in steps
    ]
    await uow.execute(_SAVE, {"job": job_id, "user": user_id, "rows": orjson.dumps(rows).decode()})
