"""A job's trace as server-sent events, resumable at any event."""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header
from fastapi.responses import Response, StreamingResponse

from app.kernel.errors import AppError, Code
from app.orchestration import JobEvent
from app.surfaces.http.dependencies import PREFIX, Caller, Ops
from app.surfaces.http.jobs import AfterSeq
from app.surfaces.operations import MAX_SEQ
from app.surfaces.payloads import Text
from app.surfaces.views import Event

# Proxies close a stream that is silent for a minute; most browsers wait for 45 s.
KEEP_ALIVE_S = 15.0
_COMMENT = b": still here\n\n"
router = APIRouter(prefix=PREFIX, tags=["jobs"])


@router.get(
    "/jobs/{job_id}/events/stream",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "One event per line of trace."},
        204: {"description": "The trace has ended and all of it was seen."},
    },
)
async def stream_events(
    ops: Ops,
    caller: Caller,
    job_id: UUID,
    after_seq: AfterSeq = 0,
    last_event_id: Annotated[Text | None, Header(description="As browsers send it.")] = None,
) -> Response:
    """The trace after `after_seq` (or `Last-Event-ID`), live, up to the job's end."""
    after = after_seq if not last_event_id else _seq(last_event_id)
    seen = await ops.trace(caller, job_id, after, 1)
    if seen.is_terminal:
        # An EventSource connects again after the end of a stream, unless the answer is 204.
        return Response(status_code=204)
    return StreamingResponse(
        _frames(ops.watch(caller, job_id, after)),
        media_type="text/event-stream",
        headers={"cache-control": "no-cache, no-transform", "x-accel-buffering": "no"},
    )


def _seq(last_event_id: str) -> int:
    if last_event_id.isascii() and last_event_id.isdecimal() and len(last_event_id) <= 10:
        return min(int(last_event_id), MAX_SEQ)
    raise AppError(
        Code.INVALID_INPUT,
        "Last-Event-ID is not the number of an event.",
        hint="Send the `id` of the last event you received.",
    )


def frame(event: JobEvent) -> bytes:
    """One event in the format of the HTML standard, section 9.2; JSON holds no line break."""
    data = Event.of(event).model_dump_json()
    return f"id: {event.seq}\nevent: {event.kind}\ndata: {data}\n\n".encode()


async def _frames(events: AsyncIterator[JobEvent]) -> AsyncIterator[bytes]:
    upcoming: asyncio.Task[JobEvent] | None = None
    try:
        while True:
            upcoming = upcoming or asyncio.ensure_future(_next(events))
            done, _ = await asyncio.wait({upcoming}, timeout=KEEP_ALIVE_S)
            if not done:
                yield _COMMENT
                continue
            try:
                event = upcoming.result()
            except StopAsyncIteration:
                return
            upcoming = None
            yield frame(event)
    finally:
        if upcoming is not None:
            upcoming.cancel()


async def _next(events: AsyncIterator[JobEvent]) -> JobEvent:
    return await anext(events)
