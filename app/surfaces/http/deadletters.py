"""Routes of dead letters: jobs that failed at every attempt."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from app.surfaces.deadletters import Cause, DeadLetterPage, Kind, RedriveIn, RedrivenOut, RedriveOut
from app.surfaces.http.dependencies import PREFIX, Caller, Ops

router = APIRouter(prefix=PREFIX, tags=["jobs"])


@router.get("/dead-letters")
async def list_dead_letters(
    ops: Ops,
    caller: Caller,
    limit: Annotated[int, Query(ge=1, le=100)] = 50,
    before: Annotated[UUID | None, Query(description="`next` of the page before.")] = None,
    cause: Annotated[Cause, Query()] = None,
    kind: Annotated[Kind, Query()] = None,
    open: Annotated[  # noqa: A002 - the name in the query
        bool | None, Query(description="Only those that are not redriven (or are).")
    ] = None,
) -> DeadLetterPage:
    """The caller's dead letters, newest first, and how many there are of each cause."""
    return await ops.dead_letters.page(caller, limit, before, cause=cause, kind=kind, is_open=open)


@router.post("/dead-letters/{job_id}/redrive")
async def redrive(ops: Ops, caller: Caller, job_id: UUID) -> RedrivenOut:
    """Queue a dead job again as a new job; its price is held again. Repeating it is safe."""
    return await ops.dead_letters.redrive(caller, job_id)


@router.post("/dead-letters:redrive")
async def redrive_all(ops: Ops, caller: Caller, body: RedriveIn) -> RedriveOut:
    """Queue up to 500 dead jobs again; one without credits stays and refuses no other."""
    return await ops.dead_letters.redrive_all(caller, body)
