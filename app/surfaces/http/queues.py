"""Routes of the queue, for operators."""

from typing import Annotated

from fastapi import APIRouter, Path

from app.surfaces.http.dependencies import PREFIX, Caller, Ops
from app.surfaces.payloads import Text
from app.surfaces.queues import PauseIn, QueueOut, QueuesOut

router = APIRouter(prefix=PREFIX, tags=["operation"])
_Kind = Annotated[Text, Path(min_length=1, max_length=200)]


@router.get("/queues")
async def show_queues(ops: Ops, caller: Caller) -> QueuesOut:
    """What the queue holds, by kind of job (scope `admin`)."""
    return await ops.queues.state(caller)


@router.post("/queues/{kind}/pause")
async def pause_queue(ops: Ops, caller: Caller, kind: _Kind, body: PauseIn) -> QueueOut:
    """Start no job of a kind until it is resumed; those that run go on (scope `admin`)."""
    return await ops.queues.pause(caller, kind, body.reason)


@router.post("/queues/{kind}/resume")
async def resume_queue(ops: Ops, caller: Caller, kind: _Kind) -> QueueOut:
    """Start jobs of a kind again (scope `admin`)."""
    return await ops.queues.resume(caller, kind)
