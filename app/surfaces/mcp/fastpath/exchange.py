"""Bodies in, bodies out, and whether the caller is still there."""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any
from uuid import UUID

from starlette.types import Message, Receive, Send

_PATIENCE_S = 0.05
_LONGEST_GIVEN = 64
_JSON = b"application/json"


def fits(head: dict[bytes, bytes], limit: int) -> bool:
    """Whether a body of the announced length may be read."""
    length = head.get(b"content-length", b"0")
    return length.isdigit() and int(length) <= limit


def identity_of(head: dict[bytes, bytes], other: UUID) -> str:
    """The id the caller gave the request, if it is one; else the other."""
    given = head.get(b"x-request-id", b"").decode("latin-1")
    return given if given and _is_identity(given) else str(other)


def _is_identity(text: str) -> bool:
    plain = text.replace("-", "").replace("_", "").replace(".", "")
    return 0 < len(text) <= _LONGEST_GIVEN and text.isascii() and (plain.isalnum() or not plain)


async def whole(receive: Receive, limit: int) -> tuple[bytes | None, Receive]:
    """The body, and a `receive` that brings it again; None for one that is too large or ends."""
    message = await receive()
    seen = [message]
    size = len(message.get("body", b""))
    while message["type"] == "http.request" and message.get("more_body", False) and size <= limit:
        message = await receive()
        seen.append(message)
        size += len(message.get("body", b""))
    is_whole = message["type"] == "http.request" and size <= limit
    body = b"".join([one.get("body", b"") for one in seen]) if is_whole else None
    return body, _Replayed(seen, receive)


class _Replayed:
    """Brings messages that were received before, then the rest."""

    def __init__(self, seen: list[Message], receive: Receive) -> None:
        self._seen = seen[::-1]
        self._receive = receive

    async def __call__(self) -> Message:
        return self._seen.pop() if self._seen else await self._receive()


async def send_whole(
    send: Send,
    body: bytes,
    identity: str,
    *,
    kind: bytes = _JSON,
    more: Sequence[tuple[bytes, bytes]] = (),
) -> None:
    """Send a response of status 200 at once."""
    headers = [
        (b"content-length", b"%d" % len(body)),
        (b"content-type", kind),
        (b"x-request-id", identity.encode()),
        *more,
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def watched(receive: Receive, work: Awaitable[bytes]) -> bytes | None:
    """The answer, or None if the caller left before it came: then the call is cancelled."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    watch = _Watch(receive, task)
    # Most calls are over before a task that waits for the caller to leave would pay.
    timer = loop.call_later(_PATIENCE_S, watch.begin)
    try:
        return await work
    except asyncio.CancelledError:
        if not watch.has_left:
            raise
        task.uncancel()
        return None
    finally:
        timer.cancel()
        watch.end()


class _Watch:
    """Cancels a task when the caller leaves."""

    def __init__(self, receive: Receive, task: "asyncio.Task[Any]") -> None:
        self._receive = receive
        self._task = task
        self._waiting: asyncio.Task[None] | None = None
        self.has_left = False

    def begin(self) -> None:
        """Begin to listen."""
        self._waiting = asyncio.create_task(self._wait(), name="caller")

    def end(self) -> None:
        """Listen no more."""
        if self._waiting is not None:
            self._waiting.cancel()

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.has_left = True
        self._task.cancel()
