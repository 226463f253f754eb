"""Values of orchestration: what is asked for, what is shown, what a handler gives back."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from app.billing import Quote, Usage
from app.kernel.errors import AppError
from app.kernel.principal import Principal
from app.kernel.uow import UnitOfWork
from app.orchestration.states import TERMINAL
from app.storage import Blob


class JobRequest(NamedTuple):
    """A run to be queued; `definition` is JSON kept as it is, `price` is what it may cost.

    It starts at `run_at` at the earliest. `priority` (-2..2) orders a user's own jobs only.
    `limit_names` are the limits it counts against; its end is told to `webhook_id`.
    """

    user_id: UUID
    kind: str
    definition: Mapping[str, Any]
    price: Quote
    project_id: UUID | None = None
    idempotency_key: str | None = None
    priority: int = 0
    run_at: datetime | None = None
    limit_names: tuple[str, ...] = ()
    webhook_id: UUID | None = None


class JobView(NamedTuple):
    """A job as its owner sees it. `charged_micro` is None until it has ended."""

    job_id: UUID
    user_id: UUID
    project_id: UUID | None
    kind: str
    status: str
    definition: Mapping[str, Any]
    price_micro: int
    charged_micro: int | None
    attempt: int
    start_time: datetime
    end_time: datetime | None
    final_output: Mapping[str, Any] | None
    error: Mapping[str, Any] | None

    @property
    def is_terminal(self) -> bool:
        """Whether the job has ended."""
        return self.status in TERMINAL


class Standing(NamedTuple):
    """How far a job is: the number of its trace's last line, and whether that ends it."""

    job_id: UUID
    user_id: UUID
    seq: int
    is_over: bool


class Submitted(NamedTuple):
    """A queued job, and whether this request made it (else its idempotency key did before)."""

    job: JobView
    is_new: bool


@dataclass(frozen=True, slots=True)
class JobEvent:
    """One line of a job's trace; `seq` starts at 1 and has no gaps."""

    job_id: UUID
    seq: int
    kind: str
    data: Mapping[str, Any]
    created_at: datetime


class Lease(NamedTuple):
    """A job claimed by a worker. `attempt` is the fencing token.

    `failures` counts failed runs and lost leases, `losses` the lost leases alone.
    """

    job: JobView
    attempt: int
    failures: int
    is_cancel_requested: bool
    place: int = 0
    losses: int = 0

    @property
    def job_id(self) -> UUID:
        """The job's id."""
        return self.job.job_id


class End(NamedTuple):
    """How a leased job ended. `usage` is metered with the end.

    `charge_micro` is what it costs, never more than its hold; unless given, a success costs the
    price and anything else nothing.
    """

    lease: Lease
    status: str
    output: Mapping[str, Any] | None = None
    error: Mapping[str, Any] | None = None
    usage: Usage | None = None
    charge_micro: int | None = None

    @property
    def charged_micro(self) -> int:
        """What the job costs; a hold that is asked for more would stay open for ever."""
        if self.charge_micro is not None:
            return min(self.charge_micro, self.lease.job.price_micro)
        return self.lease.job.price_micro if self.status == "Success" else 0


class Ended(NamedTuple):
    """A job taken out of the queue, how it stood there, and who is to be told."""

    job_id: UUID
    is_limited: bool
    webhook_id: UUID | None
    priority: int


@dataclass(frozen=True, slots=True)
class Artifact:
    """A file a handler leaves behind: its bytes are stored, the row comes with the job's end."""

    blob: Blob
    name: str
    media_type: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of a run: a success is charged, anything else is not."""

    is_success: bool
    output: Mapping[str, Any]
    error: AppError | None = None
    files: Sequence[Artifact] = field(default_factory=tuple)


class JobContext(Protocol):
    """What a handler may do in the middle of a job."""

    @property
    def job(self) -> JobView: ...

    @property
    def principal(self) -> Principal: ...

    async def emit(
        self, kind: str, data: Mapping[str, Any], *, once: str | None = None
    ) -> None: ...

    async def call_tool(
        self, name: str, arguments: Mapping[str, Any], *, key: str
    ) -> dict[str, Any]: ...

    def transaction(self) -> AbstractAsyncContextManager[UnitOfWork]: ...

    def is_cancelled(self) -> bool: ...


class JobHandler(Protocol):
    """Runs jobs of one kind; registered in wiring."""

    async def run(self, ctx: JobContext) -> Outcome: ...
