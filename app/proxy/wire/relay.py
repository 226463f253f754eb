"""A server's own HTTP exchange, carried through: its status, its body or its events, capped.

For the pass-through of one server, where requests keep their ids and sessions are the server's
own. Of the response only what the transport needs is passed on: no cookies, no challenges.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from time import monotonic

from app.proxy.faults import output_too_large
from app.proxy.wire.answers import STREAM, events, media_type, raise_for_status
from app.proxy.wire.connection import Response
from app.proxy.wire.legacy import SESSION
from app.proxy.wire.pool import Pool, read_all
from app.proxy.wire.sse import Event
from app.proxy.wire.types import Target

_WINDOW_S = 60.0
_LISTEN = "subscriptions/listen"


class Reply:
    """A response that has begun."""

    def __init__(self, response: Response, target: Target) -> None:
        self._response, self._target = response, target
        self.status = response.status
        self.media_type = media_type(response)
        self.session_id = response.headers.get(SESSION.lower())
        self.scrub: Callable[[bytes], bytes] = bytes

    @property
    def is_stream(self) -> bool:
        """Whether events follow; else one body."""
        return self.media_type == STREAM

    async def body(self) -> bytes:
        """The whole body. Raises `tool_output_too_large`, `tool_server_down`."""
        return self.scrub(await read_all(self._response, self._target))

    async def events(self) -> AsyncGenerator[Event]:
        """The events as they come; a server may send so many bytes a minute, for ever."""
        window, size = monotonic(), 0
        async with aclosing(events(self._response, self._target)) as found:
            async for event in found:
                if monotonic() - window > _WINDOW_S:
                    window, size = monotonic(), 0
                size += len(event.data)
                if size > 2 * self._target.output_limit:
                    raise output_too_large(self._target.name, self._target.output_limit)
                event_id = None if event.id is None else self.scrub(event.id)
                yield event._replace(data=self.scrub(event.data), id=event_id)


class Relay:
    """Exchanges with one server."""

    def __init__(self, pool: Pool, target: Target) -> None:
        self._pool, self.target = pool, target

    @asynccontextmanager
    async def open(
        self,
        method: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        is_repeatable: bool = False,
    ) -> AsyncIterator[Reply]:
        """The server's reply, whatever its status below 500 but 401 and 403.

        Raises `UnreachableError`, `UpstreamRefusedError`, `tool_server_down`.
        """
        is_stream = method == "GET" or headers.get("Mcp-Method") == _LISTEN
        async with self._pool.send(
            self.target, method, headers, body, is_repeatable=is_repeatable, is_stream=is_stream
        ) as response:
            raise_for_status(response, self.target)
            yield Reply(response, self.target)
