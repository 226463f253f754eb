"""A job's trace as server-sent events, resumable at any event.

A stream is one of its user's long connections, and ends with the credential that asked for it.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from app.auth import Entrant
from app.kernel.errors import AppError, Code
from app.orchestration import JobEvent
from app.surfaces.http.dependencies import PREFIX, Caller, Ops
from app.surfaces.http.jobs import AfterSeq
from app.surfaces.operations import MAX_SEQ
from app.surfaces.payloads import Text
from app.surfaces.streams import Streams
from app.surfaces.views import Event

# Proxies close a stream that is silent for a minute; most browsers wait for 45 s.
KEEP_ALIVE_S = 15.0
_COMMENT = b": still here\n\n"
router = APIRouter(prefix=PREFIX, tags=["jobs"])


class _Trace(StreamingResponse):
    """The stream; `rate_limited` before it begins if its user has too many."""

    def __init__(self, events: AsyncIterator[JobEvent], streams: Streams, entrant: Entrant) -> None:
        self._streams, self._entrant = streams, entrant
        self._ended = asyncio.Event()
        super().__init__(
            _frames(events, self._ended),
            media_type="text/event-stream",
            headers={"cache-control": "no-cache, no-transform", "x-accel-buffering": "no"},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._streams.hold(self._entrant, lambda _why: self._ended.set()):
            await super().__call__(scope, receive, send)


@router.get(
    "/jobs/{job_id}/events/stream",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "One event per line of trace."},
        204: {"description": "The trace has ended and all of it was seen."},
    },
)
async def stream_events(
    request: Request,
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
    entrant = await ops.access.admit(request.headers.get("authorization"))
    return _Trace(ops.watch(caller, job_id, after), ops.streams, entrant)


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


async def _frames(events: AsyncIterator[JobEvent], ended: asyncio.Event) -> AsyncIterator[bytes]:
    upcoming: asyncio.Task[JobEvent] | None = None
    over = asyncio.ensure_future(ended.wait())
    try:
        while True:
            upcoming = upcoming or asyncio.ensure_future(_next(events))
            done, _ = await asyncio.wait(
                {upcoming, over}, timeout=KEEP_ALIVE_S, return_when=asyncio.FIRST_COMPLETED
            )
            if over in done:
                return
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
        over.cancel()
        if upcoming is not None:
            upcoming.cancel()


async def _next(events: AsyncIterator[JobEvent]) -> JobEvent:
    return await anext(events)
