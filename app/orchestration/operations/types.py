"""Values of running the queue, and what its parts are given to work with."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol
from uuid import UUID

from app.kernel.errors import AppError
from app.kernel.uow import UnitOfWork
from app.orchestration.types import JobRequest, Submitted

CatchUp = Literal["skip", "one", "all"]
Overlap = Literal["allow", "skip"]
#: What became of a moment: a job, a refusal with its reason, or skipped by a policy.
MomentOutcome = Literal["Submitted", "Refused", "Skipped"]


@dataclass(frozen=True, slots=True)
class ScheduleSpec:
    """What an owner says of a schedule.

    `job` is {tool, arguments}, {template, input} or {workflow, version, input}; it is priced at
    each moment anew.
    """

    name: str
    cron: str
    job: Mapping[str, Any]
    time_zone: str = "UTC"
    priority: int = 0
    limit_key: str | None = None
    webhook_id: UUID | None = None
    catch_up: CatchUp = "one"
    catch_up_limit: int = 100
    overlap: Overlap = "allow"
    is_paused: bool = False


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule as it stands. `next_at` is None while it is paused, or if no moment comes."""

    schedule_id: UUID
    user_id: UUID
    project_id: UUID | None
    spec: ScheduleSpec
    version: int
    next_at: datetime | None
    last_at: datetime | None
    last_job_id: UUID | None
    last_error: Mapping[str, Any] | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Moment:
    """What became of one moment of a schedule."""

    moment: datetime
    outcome: MomentOutcome
    job_id: UUID | None = None
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A job that was put aside; `cause` is the code of its last error."""

    job_id: UUID
    user_id: UUID
    kind: str
    cause: str
    error: Mapping[str, Any]
    created_at: datetime
    redriven_as: UUID | None
    redriven_at: datetime | None


@dataclass(frozen=True, slots=True)
class Redriven:
    """What became of one dead letter: the job it goes on as, or why it does not."""

    job_id: UUID
    redriven_as: UUID | None = None
    error: AppError | None = None


class Submits(Protocol):
    """Queues jobs in the caller's transaction, each refused for itself."""

    async def submit_many(
        self, uow: UnitOfWork, requests: Sequence[JobRequest]
    ) -> list[Submitted | AppError]: ...


class MakesJob(Protocol):
    """Makes a schedule's job ready to be queued: checked and priced as of now.

    It opens transactions of its own. Raises why the job cannot be made.
    """

    async def request(self, schedule: Schedule) -> JobRequest: ...
