"""What owners do with schedules, written once for every door."""

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field, StringConstraints

from app.kernel.clock import SystemClock
from app.kernel.principal import Principal, Scope
from app.orchestration import Moment, Schedule, Schedules, ScheduleSpec, preview
from app.surfaces.asked import Asked
from app.surfaces.context import Access
from app.surfaces.payloads import Payload, Text
from app.surfaces.schedulejobs import ScheduleJobs
from app.surfaces.services import Services
from app.surfaces.terms import Aware, LimitKey, Priority, Terms, Webhook
from app.surfaces.views import View

_AHEAD = 5
_Cron = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200),
    Field(description="Minute, hour, day of month, month, weekday.", examples=["30 6 * * mon-fri"]),
]
_Zone = Annotated[
    str,
    StringConstraints(min_length=1, max_length=100),
    Field(description="A name of the IANA database, such as `Europe/Berlin`."),
]


class PreviewIn(Payload):
    """An expression to try."""

    cron: _Cron
    time_zone: _Zone = "UTC"


class ScheduleIn(Asked):
    """A job and when it is submitted."""

    name: Annotated[Text, StringConstraints(min_length=1, max_length=100)]
    cron: _Cron
    time_zone: _Zone = "UTC"
    priority: Priority = 0
    limit_key: LimitKey = None
    webhook: Webhook = None
    catch_up: Annotated[
        Literal["skip", "one", "all"],
        Field(
            description="Of moments that were missed: none, the newest, or the newest"
            " `catch_up_limit`."
        ),
    ] = "one"
    catch_up_limit: Annotated[int, Field(ge=1, le=1000)] = 100
    overlap: Annotated[
        Literal["allow", "skip"],
        Field(description="`skip`: no new job while the last one has not ended."),
    ] = "allow"
    is_paused: bool = False


class BackfillIn(Payload):
    """Which moments to make up for: both ends are meant, at most 1,000, all of the past."""

    first: Annotated[Aware, Field(alias="from")]
    last: Annotated[Aware, Field(alias="to")]


class ScheduleOut(View):
    """A schedule as it stands."""

    schedule_id: UUID
    name: str
    cron: str
    time_zone: str
    template: str | None = None
    input: Any = None
    tool: str | None = None
    arguments: dict[str, Any] | None = None
    workflow: dict[str, Any] | str | None = None
    version: int | None = Field(None, description="Null: the newest at each moment.")
    priority: int
    limit_key: str | None
    webhook: UUID | None
    catch_up: str
    catch_up_limit: int
    overlap: str
    is_paused: bool
    next_at: datetime | None = Field(description="Null while it is paused.")
    last_at: datetime | None = Field(description="The newest moment that became a job.")
    last_job_id: UUID | None
    last_error: dict[str, Any] | None = Field(
        description="Why the newest moment became no job; null after one that did."
    )
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, schedule: Schedule) -> Self:
        """The view of a schedule."""
        spec = schedule.spec
        shared = "name cron time_zone priority limit_key catch_up catch_up_limit overlap is_paused"
        own = "schedule_id next_at last_at last_job_id last_error created_at updated_at"
        return cls(
            **{name: getattr(spec, name) for name in shared.split()},
            **{name: getattr(schedule, name) for name in own.split()},
            **dict(spec.job),
            webhook=spec.webhook_id,
        )


class SchedulePage(View):
    """Schedules, newest first; pass `next` as `before` for the page after."""

    schedules: list[ScheduleOut]
    next: UUID | None


class MomentOut(View):
    """What became of a moment: a job, or why none."""

    moment: datetime
    outcome: Literal["Submitted", "Refused", "Skipped"]
    job_id: UUID | None
    error: dict[str, Any] | None


class MomentPage(View):
    """Moments, newest first; pass `next` as `before` for the page after."""

    moments: list[MomentOut]
    next: datetime | None


class BackfillOut(View):
    """The moments that had no job yet, oldest first, and what became of them."""

    moments: list[MomentOut]


class PreviewOut(View):
    """The next five moments, in UTC."""

    moments: list[datetime]


class Scheduling:
    """Schedules of the principal; those of others are `not_found`."""

    def __init__(self, services: Services, access: Access) -> None:
        self._access = access
        self._schedules = Schedules(services.jobs)
        self._jobs = ScheduleJobs(services, access)
        self._clock = SystemClock()

    async def _spec(self, principal: Principal, given: ScheduleIn) -> ScheduleSpec:
        # Read before anything is stored for the job.
        preview(given.cron, given.time_zone, self._clock.now(), 0)
        terms = Terms(None, given.priority, None, given.limit_key, given.webhook)
        return ScheduleSpec(
            name=given.name,
            cron=" ".join(given.cron.split()),
            job=await self._jobs.keep(principal, given, terms),
            time_zone=given.time_zone,
            priority=given.priority,
            limit_key=given.limit_key,
            webhook_id=given.webhook,
            catch_up=given.catch_up,
            catch_up_limit=given.catch_up_limit,
            overlap=given.overlap,
            is_paused=given.is_paused,
        )

    async def create(self, principal: Principal, given: ScheduleIn) -> ScheduleOut:
        """Make a schedule; its job is checked now and priced at each moment."""
        principal.require(Scope.JOBS)
        spec = await self._spec(principal, given)
        async with self._access.write(principal) as uow:
            made = await self._schedules.create(uow, principal.owner, principal.project_id, spec)
        return ScheduleOut.of(made)

    async def change(
        self, principal: Principal, schedule_id: UUID, given: ScheduleIn
    ) -> ScheduleOut:
        """Replace what a schedule says."""
        principal.require(Scope.JOBS)
        await self.show(principal, schedule_id)
        spec = await self._spec(principal, given)
        async with self._access.write(principal) as uow:
            changed = await self._schedules.change(uow, principal.owner, schedule_id, spec)
        return ScheduleOut.of(changed)

    async def show(self, principal: Principal, schedule_id: UUID) -> ScheduleOut:
        """One schedule."""
        return ScheduleOut.of(await self._own(principal, schedule_id))

    async def _own(self, principal: Principal, schedule_id: UUID) -> Schedule:
        principal.require(Scope.JOBS)
        async with self._access.read(principal) as uow:
            return await self._schedules.get(uow, principal.owner, schedule_id)

    async def page(
        self, principal: Principal, limit: int = 50, before: UUID | None = None
    ) -> SchedulePage:
        """A page of schedules; `limit` is below 200."""
        principal.require(Scope.JOBS)
        async with self._access.read(principal) as uow:
            found = await self._schedules.list(uow, principal.owner, limit + 1, before)
        shown = [ScheduleOut.of(one) for one in found[:limit]]
        return SchedulePage(
            schedules=shown, next=shown[-1].schedule_id if len(found) > limit else None
        )

    async def set_paused(
        self, principal: Principal, schedule_id: UUID, *, is_paused: bool
    ) -> ScheduleOut:
        """Pause or resume."""
        principal.require(Scope.JOBS)
        async with self._access.write(principal) as uow:
            changed = await self._schedules.set_paused(
                uow, principal.owner, schedule_id, is_paused=is_paused
            )
        return ScheduleOut.of(changed)

    async def delete(self, principal: Principal, schedule_id: UUID) -> None:
        """Delete a schedule; its jobs stay."""
        principal.require(Scope.JOBS)
        async with self._access.write(principal) as uow:
            await self._schedules.delete(uow, principal.owner, schedule_id)

    async def moments(
        self, principal: Principal, schedule_id: UUID, limit: int, before: datetime | None = None
    ) -> MomentPage:
        """What became of the newest moments."""
        principal.require(Scope.JOBS)
        async with self._access.read(principal) as uow:
            found = await self._schedules.moments(
                uow, principal.owner, schedule_id, limit + 1, before
            )
        shown = _moments(list(found[:limit]))
        return MomentPage(moments=shown, next=shown[-1].moment if len(found) > limit else None)

    async def backfill(
        self, principal: Principal, schedule_id: UUID, given: BackfillIn
    ) -> BackfillOut:
        """Make up for moments that have no job yet, each once."""
        schedule = await self._own(principal, schedule_id)
        made = await self._jobs.request(schedule)
        async with self._access.write(principal) as uow:
            done = await self._schedules.backfill(uow, schedule, made, given.first, given.last)
        return BackfillOut(moments=_moments(list(done)))

    def preview(self, given: PreviewIn) -> PreviewOut:
        """The next moments of an expression."""
        found = preview(given.cron, given.time_zone, self._clock.now(), _AHEAD)
        return PreviewOut(moments=list(found))


def _moments(moments: list[Moment]) -> list[MomentOut]:
    return [MomentOut.model_validate(one) for one in moments]
