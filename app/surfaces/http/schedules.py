"""Routes of schedules: jobs that are submitted at the moments of a cron expression."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from app.surfaces.http.dependencies import PREFIX, Caller, Ops
from app.surfaces.http.doubles import Unique
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
from app.surfaces.terms import Aware

router = APIRouter(prefix=PREFIX, tags=["schedules"])
_Limit = Annotated[int, Query(ge=1, le=100)]


@router.post("/schedules", status_code=201)
async def create_schedule(
    ops: Ops, caller: Caller, body: ScheduleIn, _unique: Unique
) -> ScheduleOut:
    """Submit a job at the moments of a cron expression; its price is held at each of them."""
    return await ops.schedules.create(caller, body)


@router.post("/schedules:preview")
async def preview_schedule(ops: Ops, caller: Caller, body: PreviewIn) -> PreviewOut:
    """The next five moments of an expression."""
    return ops.schedules.preview(body)


@router.get("/schedules")
async def list_schedules(
    ops: Ops,
    caller: Caller,
    limit: _Limit = 50,
    before: Annotated[UUID | None, Query(description="`next` of the page before.")] = None,
) -> SchedulePage:
    """The caller's schedules, newest first."""
    return await ops.schedules.page(caller, limit, before)


@router.get("/schedules/{schedule_id}")
async def show_schedule(ops: Ops, caller: Caller, schedule_id: UUID) -> ScheduleOut:
    """One schedule."""
    return await ops.schedules.show(caller, schedule_id)


@router.put("/schedules/{schedule_id}")
async def change_schedule(
    ops: Ops, caller: Caller, schedule_id: UUID, body: ScheduleIn, _unique: Unique
) -> ScheduleOut:
    """Replace a schedule; moments before now are not fired by it any more."""
    return await ops.schedules.change(caller, schedule_id, body)


@router.delete("/schedules/{schedule_id}", status_code=204)
async def delete_schedule(ops: Ops, caller: Caller, schedule_id: UUID) -> None:
    """Delete a schedule; its jobs stay."""
    await ops.schedules.delete(caller, schedule_id)


@router.post("/schedules/{schedule_id}/pause")
async def pause_schedule(ops: Ops, caller: Caller, schedule_id: UUID) -> ScheduleOut:
    """Pause a schedule; repeating it changes nothing."""
    return await ops.schedules.set_paused(caller, schedule_id, is_paused=True)


@router.post("/schedules/{schedule_id}/resume")
async def resume_schedule(ops: Ops, caller: Caller, schedule_id: UUID) -> ScheduleOut:
    """Go on from the next moment; those of the pause can be backfilled."""
    return await ops.schedules.set_paused(caller, schedule_id, is_paused=False)


@router.post("/schedules/{schedule_id}/backfill")
async def backfill_schedule(
    ops: Ops, caller: Caller, schedule_id: UUID, body: BackfillIn
) -> BackfillOut:
    """Submit the jobs of past moments that have none, each once."""
    return await ops.schedules.backfill(caller, schedule_id, body)


@router.get("/schedules/{schedule_id}/moments")
async def list_moments(
    ops: Ops,
    caller: Caller,
    schedule_id: UUID,
    limit: _Limit = 50,
    before: Annotated[Aware | None, Query(description="`next` of the page before.")] = None,
) -> MomentPage:
    """What became of the schedule's moments, newest first; the last 1,000 are kept."""
    return await ops.schedules.moments(caller, schedule_id, limit, before)
