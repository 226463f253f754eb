"""What owners do with jobs that were put aside, written once for every door."""

from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import Field, StringConstraints

from app.kernel.principal import Principal, Scope
from app.orchestration import DeadLetters, Redriven
from app.surfaces.context import Access
from app.surfaces.payloads import Payload, Text
from app.surfaces.services import Services
from app.surfaces.views import View

MAX_BATCH = 500
_Word = Annotated[Text, StringConstraints(min_length=1, max_length=200)]
Cause = Annotated[_Word | None, Field(description="Only with this code of their last error.")]
Kind = Annotated[_Word | None, Field(description="Only jobs of this kind.")]


class RedriveIn(Payload):
    """Which dead letters to queue again, oldest first."""

    cause: Cause = None
    kind: Kind = None
    limit: Annotated[int, Field(ge=1, le=MAX_BATCH)] = 100
    after: Annotated[UUID | None, Field(description="`next` of the batch before.")] = None


class DeadLetterOut(View):
    """A job that was put aside, why, and the job it went on as."""

    job_id: UUID
    kind: str
    cause: str = Field(description="The code of its last error.")
    error: dict[str, Any]
    created_at: datetime
    redriven_as: UUID | None
    redriven_at: datetime | None


class CauseOut(View):
    """How many dead letters of a cause and kind are not redriven."""

    cause: str
    kind: str
    count: int


class DeadLetterPage(View):
    """Dead letters, newest first, and all causes; pass `next` as `before` for the page after."""

    dead_letters: list[DeadLetterOut]
    causes: list[CauseOut] = Field(description="Of those not redriven; at most 10,000 are counted.")
    next: UUID | None


class RedrivenOut(View):
    """What became of a dead letter: the job it goes on as, or why it stays."""

    job_id: UUID
    redriven_as: UUID | None = None
    error: dict[str, Any] | None = None

    @classmethod
    def of(cls, one: Redriven) -> Self:
        """The view of a redrive."""
        error = None if one.error is None else one.error.as_dict()
        return cls(job_id=one.job_id, redriven_as=one.redriven_as, error=error)


class RedriveOut(View):
    """One result a dead letter; pass `next` as `after` for the batch after."""

    results: list[RedrivenOut]
    next: UUID | None


class PutAside:
    """Dead letters of the principal; those of others are `not_found`."""

    def __init__(self, services: Services, access: Access) -> None:
        self._access = access
        self._letters = DeadLetters(services.jobs)

    async def page(
        self,
        principal: Principal,
        limit: int = 50,
        before: UUID | None = None,
        *,
        cause: str | None = None,
        kind: str | None = None,
        is_open: bool | None = None,
    ) -> DeadLetterPage:
        """A page of dead letters that fit; `limit` is below 200."""
        principal.require(Scope.JOBS)
        async with self._access.read(principal) as uow:
            found = await self._letters.list(
                uow, principal.owner, limit + 1, before, cause=cause, kind=kind, is_open=is_open
            )
            counts = await self._letters.counts(uow, principal.owner)
        shown = [DeadLetterOut.model_validate(one) for one in found[:limit]]
        return DeadLetterPage(
            dead_letters=shown,
            causes=[CauseOut(cause=c, kind=k, count=n) for c, k, n in counts],
            next=shown[-1].job_id if len(found) > limit else None,
        )

    async def redrive(self, principal: Principal, job_id: UUID) -> RedrivenOut:
        """Queue one dead job again, or raise why not; a repeat gives the same new job."""
        principal.require(Scope.JOBS)
        async with self._access.write(principal) as uow:
            done = await self._letters.redrive(uow, principal.owner, job_id)
            if done.error is not None:
                raise done.error
        return RedrivenOut.of(done)

    async def redrive_all(self, principal: Principal, given: RedriveIn) -> RedriveOut:
        """Queue a batch of dead jobs again, each refused for itself."""
        principal.require(Scope.JOBS)
        async with self._access.write(principal) as uow:
            done, after = await self._letters.redrive_all(
                uow,
                principal.owner,
                given.limit,
                given.after,
                cause=given.cause,
                kind=given.kind,
            )
        return RedriveOut(results=[RedrivenOut.of(one) for one in done], next=after)
