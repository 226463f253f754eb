"""What owners and operators do with limits, written once for every door.

Users set the limits of their own keys; those of users and tools are the platform's (`admin`).
Everybody sees what applies to them, and of a line the position of their own jobs alone.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import Field, StringConstraints, model_validator

from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal, Scope
from app.orchestration import JobLimits, Limit, LimitQueue, Numbers, read_name, shown_name
from app.surfaces.context import Access
from app.surfaces.payloads import Payload, Text
from app.surfaces.services import Services
from app.surfaces.views import View

LimitName = Annotated[
    Text,
    StringConstraints(min_length=1, max_length=300),
    Field(description="`key:<key>`, `key:*`, `tool:<full name>`, `tool:*`, `user:me`, `user:*`."),
]


class LimitIn(Payload):
    """The numbers of a limit, in place of any it has; what is left out is without limit."""

    max_running: Annotated[
        int | None, Field(ge=0, le=1_000_000, description="Jobs at once; 0 lets none start.")
    ] = None
    rate_per_minute: Annotated[
        int | None, Field(ge=1, le=1_000_000, description="Starts a minute.")
    ] = None
    burst: Annotated[
        int | None, Field(ge=1, le=100_000, description="Starts of a rate that may come at once.")
    ] = None
    is_paused: Annotated[bool, Field(description="Let nobody in; jobs that run go on.")] = False

    @model_validator(mode="after")
    def _burst_has_a_rate(self) -> Self:
        if self.burst is not None and self.rate_per_minute is None:
            raise AppError(
                Code.INVALID_INPUT,
                "A burst needs a rate.",
                hint="Give `rate_per_minute` too, or leave `burst` out.",
                details={"pointer": "/burst"},
            )
        return self

    def numbers(self) -> Numbers:
        """The numbers to set."""
        return Numbers(self.max_running, self.rate_per_minute, self.burst or 1, self.is_paused)


class LimitOut(View):
    """A limit as it stands."""

    name: str
    scope: Literal["user", "tool", "key"]
    inherits: str | None = Field(description="The default whose numbers apply, if not its own.")
    max_running: int | None
    rate_per_minute: int | None
    burst: int | None
    is_paused: bool
    running: int = Field(description="Jobs that hold it: let in and not ended.")
    waiting: int = Field(description="Jobs in its line, counted up to 10,000.")

    @classmethod
    def of(cls, limit: Limit) -> Self:
        """The view of a limit, by the name its owner uses."""
        view = cls.model_validate(limit)
        view.name = shown_name(limit.name)
        view.inherits = limit.inherits and shown_name(limit.inherits)
        return view


class LimitsOut(View):
    """A page of limits by name."""

    limits: list[LimitOut]
    next: str | None = Field(description="`after` of the next page; null on the last one.")


class WaitingOut(View):
    """A job in a line."""

    job_id: UUID
    position: int = Field(description="From 1, counting all jobs in the line.")
    priority: int


class LimitQueueOut(View):
    """A limit, who holds it (the first 100), and a page of who waits, next first."""

    limit: LimitOut
    running: list[UUID]
    waiting: list[WaitingOut]
    next: str | None = Field(description="`after` of the next page; null on the last one.")

    @classmethod
    def of(cls, queue: LimitQueue) -> Self:
        """The view of a limit's queue."""
        return cls(
            limit=LimitOut.of(queue.limit),
            running=list(queue.running),
            waiting=[WaitingOut.model_validate(one) for one in queue.waiting],
            next=queue.after,
        )


class Limiting:
    """Limits, for their owners and for operators."""

    def __init__(self, services: Services, access: Access) -> None:
        self._access = access
        self._limits = services.limits or JobLimits(services.wakeups)

    async def list(
        self, principal: Principal, limit: int, after: str | None, *, is_platform: bool
    ) -> LimitsOut:
        """The caller's key limits, or the platform's of users and tools (`admin`)."""
        principal.require(Scope.ADMIN if is_platform else Scope.JOBS)
        owner = principal.owner
        last = "" if after is None else read_name(after, owner)
        async with self._access.write(principal) as uow:
            if is_platform:
                found = await self._limits.of_platform(uow, limit + 1, last)
            else:
                found = await self._limits.of_user(uow, owner, limit + 1, last)
        return _page(found, limit)

    async def put(self, principal: Principal, name: str, given: LimitIn) -> LimitOut:
        """Set a limit's numbers; jobs that now fit start."""
        stored = self._mine(principal, name)
        async with self._access.write(principal) as uow:
            return LimitOut.of(await self._limits.put(uow, stored, given.numbers()))

    async def remove(self, principal: Principal, name: str) -> None:
        """Take a limit's numbers away; the default of its kind applies."""
        stored = self._mine(principal, name)
        async with self._access.write(principal) as uow:
            await self._limits.remove(uow, stored)

    async def queue(
        self, principal: Principal, name: str, limit: int, after: str | None
    ) -> LimitQueueOut:
        """Who holds a limit and who waits; of the platform's limits only the caller's jobs."""
        principal.require(Scope.JOBS)
        stored = read_name(name, principal.owner)
        is_operator = Scope.ADMIN in principal.scopes
        is_others = stored.startswith("user:") and stored != f"user:{principal.owner}"
        if is_others and not is_operator:
            principal.require(Scope.ADMIN)
        whose = None if is_operator else principal.owner
        # The platform's rows are read as the platform: positions count everybody's jobs.
        async with self._access.write(principal) as uow:
            return LimitQueueOut.of(await self._limits.queue(uow, stored, whose, limit, after))

    def _mine(self, principal: Principal, name: str) -> str:
        """The stored name of a limit that the caller may change."""
        stored = read_name(name, principal.owner)
        principal.require(Scope.JOBS if stored.startswith("key:") else Scope.ADMIN)
        return stored


def _page(found: Sequence[Limit], limit: int) -> LimitsOut:
    shown = [LimitOut.of(one) for one in found[:limit]]
    return LimitsOut(limits=shown, next=shown[-1].name if len(found) > limit else None)
