"""`dead_letters.*` for owners, `queues.*` for operators."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from app.kernel.errors import AppError, Code
from app.kernel.principal import Scope
from app.surfaces.deadletters import Cause, DeadLetterPage, Kind, RedriveIn, RedriveOut
from app.surfaces.mcp.calls import Call
from app.surfaces.mcp.owntools import OwnTool
from app.surfaces.operations import Operations
from app.surfaces.payloads import Payload
from app.surfaces.queues import PauseIn, QueueKind, QueueOut, QueuesOut

_JOBS, _ADMIN = Scope.JOBS, Scope.ADMIN


class Listed(Payload):
    """Which dead letters to show."""

    limit: Annotated[int, Field(ge=1, le=100)] = 50
    before: Annotated[UUID | None, Field(description="`next` of the page before.")] = None
    cause: Cause = None
    kind: Kind = None
    open: Annotated[bool | None, Field(description="Only those not redriven (or redriven).")] = None


class Redrive(RedriveIn):
    """One job, or all that fit."""

    job_id: Annotated[UUID | None, Field(description="One dead job; else all that fit.")] = None


class Nothing(Payload):
    """No arguments."""


class OneKind(Payload):
    """A kind of job."""

    kind: QueueKind


class Pause(PauseIn):
    """A kind of job and why it waits."""

    kind: QueueKind


class QueueTools:
    """The handlers, over the operations both doors share."""

    def __init__(self, operations: Operations) -> None:
        self._ops = operations

    def tools(self) -> list[OwnTool[Any]]:
        """The tools of this family."""
        return [
            OwnTool("dead_letters.list", _LIST, Listed, DeadLetterPage, _JOBS, self.letters),
            OwnTool(
                "dead_letters.redrive", _REDRIVE, Redrive, RedriveOut, _JOBS, self.redrive, False
            ),
            OwnTool("queues.list", _QUEUES, Nothing, QueuesOut, _ADMIN, self.queues),
            OwnTool("queues.pause", _PAUSE, Pause, QueueOut, _ADMIN, self.pause, False),
            OwnTool("queues.resume", _RESUME, OneKind, QueueOut, _ADMIN, self.resume, False),
        ]

    async def letters(self, call: Call, given: Listed) -> DeadLetterPage:
        """A page of dead letters."""
        return await self._ops.dead_letters.page(
            call.principal,
            given.limit,
            given.before,
            cause=given.cause,
            kind=given.kind,
            is_open=given.open,
        )

    async def redrive(self, call: Call, given: Redrive) -> RedriveOut:
        """Queue dead jobs again."""
        if given.job_id is None:
            return await self._ops.dead_letters.redrive_all(call.principal, given)
        if given.model_fields_set != {"job_id"}:
            raise AppError(
                Code.INVALID_INPUT,
                "One job is redriven by its id alone.",
                hint="Give `job_id`, or leave it out to redrive all that fit.",
            )
        one = await self._ops.dead_letters.redrive(call.principal, given.job_id)
        return RedriveOut(results=[one], next=None)

    async def queues(self, call: Call, _given: Nothing) -> QueuesOut:
        """What the queue holds."""
        return await self._ops.queues.state(call.principal)

    async def pause(self, call: Call, given: Pause) -> QueueOut:
        """Pause a kind of job."""
        return await self._ops.queues.pause(call.principal, given.kind, given.reason)

    async def resume(self, call: Call, given: OneKind) -> QueueOut:
        """Resume a kind of job."""
        return await self._ops.queues.resume(call.principal, given.kind)


_LIST = "Jobs that failed at every attempt and were put aside: why, and how many of each cause."
_REDRIVE = (
    "Queue dead jobs again, one by its id or a batch that fits; each goes on as a new job whose"
    " price is held again. One that the wallet does not cover stays and refuses no other."
)
_QUEUES = "The queue by kind of job: ready, running, age of the oldest, paused or not."
_PAUSE = "Start no job of a kind until it is resumed; those that run go on."
_RESUME = "Start jobs of a kind again."
