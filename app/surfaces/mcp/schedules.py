"""`schedules.*`: jobs at the moments of a cron expression."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from app.kernel.principal import Scope
from app.surfaces.mcp.calls import Call
from app.surfaces.mcp.owntools import OwnTool
from app.surfaces.operations import Operations
from app.surfaces.payloads import Payload
from app.surfaces.scheduling import (
    BackfillIn,
    BackfillOut,
    MomentPage,
    PreviewIn,
    PreviewOut,
    ScheduleIn,
    ScheduleOut,
    SchedulePage,
)
from app.surfaces.views import View

_JOBS = Scope.JOBS


class OneSchedule(Payload):
    """A schedule's id."""

    schedule_id: UUID


class Paged(Payload):
    """A page of schedules."""

    limit: Annotated[int, Field(ge=1, le=100)] = 50
    before: Annotated[UUID | None, Field(description="`next` of the page before.")] = None


class Changed(ScheduleIn):
    """A schedule's id and all that it says from now on."""

    schedule_id: UUID


class Backfilled(BackfillIn):
    """A schedule's id and the moments to make up for."""

    schedule_id: UUID


class ShownSchedule(View):
    """A schedule and what became of its newest moments."""

    schedule: ScheduleOut
    moments: MomentPage


class Deleted(View):
    """The schedule that is gone."""

    schedule_id: UUID


class ScheduleTools:
    """The handlers, over the operations both doors share."""

    def __init__(self, operations: Operations) -> None:
        self._schedules = operations.schedules

    def tools(self) -> list[OwnTool[Any]]:
        """The tools of this family."""
        out = ScheduleOut
        return [
            OwnTool("schedules.create", _CREATE, ScheduleIn, out, _JOBS, self.create, False),
            OwnTool("schedules.list", _LIST, Paged, SchedulePage, _JOBS, self.list),
            OwnTool("schedules.show", _SHOW, OneSchedule, ShownSchedule, _JOBS, self.show),
            OwnTool("schedules.change", _CHANGE, Changed, out, _JOBS, self.change, False),
            OwnTool("schedules.pause", _PAUSE, OneSchedule, out, _JOBS, self.pause, False),
            OwnTool("schedules.resume", _RESUME, OneSchedule, out, _JOBS, self.resume, False),
            OwnTool("schedules.delete", _DELETE, OneSchedule, Deleted, _JOBS, self.delete, False),
            OwnTool(
                "schedules.backfill", _BACKFILL, Backfilled, BackfillOut, _JOBS, self.fill, False
            ),
            OwnTool("schedules.preview", _PREVIEW, PreviewIn, PreviewOut, _JOBS, self.preview),
        ]

    async def create(self, call: Call, given: ScheduleIn) -> ScheduleOut:
        """Make a schedule."""
        return await self._schedules.create(call.principal, given)

    async def list(self, call: Call, given: Paged) -> SchedulePage:
        """A page of schedules."""
        return await self._schedules.page(call.principal, given.limit, given.before)

    async def show(self, call: Call, given: OneSchedule) -> ShownSchedule:
        """One schedule with its newest moments."""
        schedule = await self._schedules.show(call.principal, given.schedule_id)
        moments = await self._schedules.moments(call.principal, given.schedule_id, 20)
        return ShownSchedule(schedule=schedule, moments=moments)

    async def change(self, call: Call, given: Changed) -> ScheduleOut:
        """Replace a schedule."""
        return await self._schedules.change(call.principal, given.schedule_id, given)

    async def pause(self, call: Call, given: OneSchedule) -> ScheduleOut:
        """Pause a schedule."""
        return await self._schedules.set_paused(call.principal, given.schedule_id, is_paused=True)

    async def resume(self, call: Call, given: OneSchedule) -> ScheduleOut:
        """Resume a schedule."""
        return await self._schedules.set_paused(call.principal, given.schedule_id, is_paused=False)

    async def delete(self, call: Call, given: OneSchedule) -> Deleted:
        """Delete a schedule."""
        await self._schedules.delete(call.principal, given.schedule_id)
        return Deleted(schedule_id=given.schedule_id)

    async def fill(self, call: Call, given: Backfilled) -> BackfillOut:
        """Make up for past moments."""
        return await self._schedules.backfill(call.principal, given.schedule_id, given)

    async def preview(self, _call: Call, given: PreviewIn) -> PreviewOut:
        """The next moments of an expression."""
        return self._schedules.preview(given)


_CREATE = (
    "Submit a job at the moments of a cron expression, in a time zone. The job is checked now; its"
    " price is held at each moment, and a moment that the wallet does not cover is recorded."
)
_LIST = "The caller's schedules, newest first."
_SHOW = "A schedule, its next moment, its last error, and what became of its newest moments."
_CHANGE = "Replace all that a schedule says; what is left out goes back to its default."
_PAUSE = "Pause a schedule."
_RESUME = "Go on from the next moment; the moments of the pause can be backfilled."
_DELETE = "Delete a schedule; the jobs it made stay."
_BACKFILL = "Submit the jobs of past moments that have none, each once; at most 1,000 at a time."
_PREVIEW = "The next five moments of a cron expression in a time zone."
