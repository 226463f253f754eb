"""One HTTP exchange through: the server's reply written to the client, message by message."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import aclosing
from typing import Any

from starlette.types import Receive, Send

from app.kernel.errors import AppError, Code
from app.proxy import Event, Reply

JSON = b"application/json"
_FAILED = 400
_log = logging.getLogger(__name__)
_STREAM_HEADERS = [
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]
Edit = Callable[[bytes], Awaitable[bytes]]
Mark = Callable[[bytes], bytes]
OnFault = Callable[[AppError], bytes | None]
Headers = list[tuple[bytes, bytes]]


async def write(
    reply: Reply,
    send: Send,
    edit: Edit,
    extra: Headers,
    on_fault: OnFault | None = None,
    mark: Mark | None = None,
) -> None:
    """Write the reply as it comes, each message edited, the ids of its events marked.

    A failure in the midst of a stream ends it, with what `on_fault` says of it, if anything.
    """
    if not reply.is_stream:
        await _write_body(reply, send, edit, extra)
        return
    start = {"status": reply.status, "headers": _STREAM_HEADERS + extra}
    await send({"type": "http.response.start", **start})
    try:
        async with aclosing(reply.events()) as events:
            async for event in events:
                data = await edit(event.data) if event.data else b""
                shown = event.id if mark is None or event.id is None else mark(event.id)
                await _send_part(send, event._replace(data=data, id=shown).encode())
    except AppError as error:
        _log.info("a stream broke off: %s", error.message)
        last = None if on_fault is None else on_fault(error)
        if last is not None:
            await _send_part(send, Event(last).encode())
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _write_body(reply: Reply, send: Send, edit: Edit, extra: Headers) -> None:
    """Write a reply without events: JSON, or nothing but a status."""
    body = await reply.body()
    is_json = reply.media_type == JSON.decode()
    if body and not is_json and reply.status < _FAILED:
        raise AppError(
            Code.TOOL_PROTOCOL_ERROR,
            f"The server answers with the content type {reply.media_type[:60]!r}.",
            hint="The fault is the server's.",
        )
    # Pages of strangers are not shown as if they were ours.
    edited = await edit(body) if body and is_json else b""
    await send_body(send, reply.status, edited, JSON, extra)


async def send_body(
    send: Send, status: int, body: bytes, media_type: bytes = JSON, extra: Headers | None = None
) -> None:
    """Write a whole response."""
    headers = [(b"content-length", b"%d" % len(body)), *(extra or [])]
    if body:
        headers.append((b"content-type", media_type))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def while_listening(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Do the work; end it as soon as the client is gone."""
    task = asyncio.create_task(work, name="passed-through")
    gone = asyncio.create_task(_gone(receive), name="passed-through-client")
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        gone.cancel()
        is_over = task.done()
        if not is_over:
            task.cancel()
        await asyncio.wait({task, gone})
    if is_over:
        task.result()


async def read_body(receive: Receive) -> bytes | None:
    """The request's body; None if the client went away."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_part(send: Send, body: bytes) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": True})


def with_session(headers: Mapping[str, str], upstream_id: str | None) -> dict[str, str]:
    """Headers that name the server's own session."""
    return dict(headers) if upstream_id is None else {**headers, "Mcp-Session-Id": upstream_id}
