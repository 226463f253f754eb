"""One session with a server of 2024-11-05 over HTTP with SSE: a stream comes, messages are posted.

The stream's first event names where to post; an address of another origin is refused, since the
credentials would go there.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from typing import Any, Self

from yarl import URL

from app.kernel.errors import AppError
from app.proxy.faults import output_too_large, protocol_error, server_down
from app.proxy.wire.answers import JSON, STREAM, answer_of, events, media_type, raise_for_status
from app.proxy.wire.connection import Response
from app.proxy.wire.envelope import cut, notification, request
from app.proxy.wire.faults import RefusedRequestError, SessionLostError
from app.proxy.wire.legacy import agreed_version, hello, reply_to
from app.proxy.wire.modern import is_repeatable, next_id
from app.proxy.wire.pool import Pool, address_of
from app.proxy.wire.types import Answer, OnMessage, Target

_BAD = 400
_OPEN_S = 15.0
_log = logging.getLogger(__name__)


class SseSession:
    """A session whose answers all come by one stream; when that ends, so does the session."""

    def __init__(self, pool: Pool, target: Target, headers: Mapping[str, str]) -> None:
        self._pool, self._target, self._headers = pool, target, dict(headers)
        self._waiting: dict[bytes, asyncio.Future[Answer]] = {}
        self._listeners: dict[bytes, OnMessage] = {}
        self._endpoint: asyncio.Future[URL] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None
        self._fault: AppError | None = None

    @classmethod
    async def open(cls, pool: Pool, target: Target, headers: Mapping[str, str]) -> Self:
        """Open the stream and shake hands."""
        session = cls(pool, target, headers)
        session._task = asyncio.create_task(session._read(), name=f"sse-{target.name}")
        try:
            async with asyncio.timeout(_OPEN_S):
                await session._endpoint
                answer = await session.request("initialize", hello(), headers)
                agreed_version(answer, target)
                await session._post(notification("notifications/initialized"), headers)
        except TimeoutError:
            await session.close()
            raise server_down(target.name, "did not open its stream in time") from None
        except BaseException:
            await session.close()
            raise
        return session

    async def request(
        self,
        method: str,
        params: bytes,
        headers: Mapping[str, str],
        on_message: OnMessage | None = None,
    ) -> Answer:
        """Post a request and wait for its answer in the stream."""
        if self._task is None or self._task.done():
            raise SessionLostError.of(self._target.name)
        request_id = next_id()
        waiting: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = waiting
        if on_message is not None:
            self._listeners[request_id] = on_message
        try:
            body = request(request_id, method, params)
            await self._post(body, headers, is_repeatable=is_repeatable(method))
            return await waiting
        except asyncio.CancelledError:
            with suppress(AppError):
                cancelled = b'{"requestId":%b}' % request_id
                await asyncio.shield(
                    self._post(notification("notifications/cancelled", cancelled), headers)
                )
            raise
        finally:
            self._waiting.pop(request_id, None)
            self._listeners.pop(request_id, None)

    async def close(self) -> None:
        """End the stream; the server forgets the session with it."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _post(
        self, message: bytes, headers: Mapping[str, str], *, is_repeatable: bool = True
    ) -> None:
        async with self._pool.send(
            self._target,
            "POST",
            {**headers, "Content-Type": JSON},
            message,
            url=await asyncio.shield(self._endpoint),
            is_repeatable=is_repeatable,
        ) as response:
            raise_for_status(response, self._target)
            if response.status >= _BAD:
                raise RefusedRequestError.of(self._target.name, response.status)

    async def _read(self) -> None:
        """Hand out what comes until the stream ends; then fail whoever still waits."""
        fault: AppError = SessionLostError.of(self._target.name)
        try:
            async with AsyncExitStack() as stack:
                response = await stack.enter_async_context(
                    self._pool.send(
                        self._target, "GET", {**self._headers, "Accept": STREAM}, is_repeatable=True
                    )
                )
                await self._follow(response)
        except AppError as error:
            fault = error
        except ValueError as error:
            fault = protocol_error(self._target.name, f"broke its stream ({type(error).__name__})")
        finally:
            self._end(fault)

    def _end(self, fault: AppError) -> None:
        everybody: list[asyncio.Future[Any]] = [self._endpoint, *self._waiting.values()]
        for waiting in everybody:
            if not waiting.done():
                waiting.set_exception(fault)
                # Nobody may be waiting for the address any more.
                waiting.exception()

    async def _follow(self, response: Response) -> None:
        raise_for_status(response, self._target)
        if response.status != 200 or media_type(response) != STREAM:
            raise RefusedRequestError.of(self._target.name, response.status)
        unasked = 0
        async for event in events(response, self._target):
            if event.kind == b"endpoint":
                self._take_endpoint(event.data)
                continue
            if not await self._take(event.data):
                unasked += len(event.data)
                if unasked > self._target.output_limit:
                    raise output_too_large(self._target.name, self._target.output_limit)
            else:
                unasked = 0

    def _take_endpoint(self, data: bytes) -> None:
        place = address_of(self._target)
        found = place.join(URL(data.decode()))
        if found.origin() != place.origin():
            raise protocol_error(self._target.name, "wants messages sent to another origin")
        if not self._endpoint.done():
            self._endpoint.set_result(found)

    async def _take(self, data: bytes) -> bool:
        """Whether a message was the answer to a request."""
        parts = cut(data)
        waiting = self._waiting.get(parts.id)
        if parts.method is None:
            answer = answer_of(parts, self._target, 200, parts.id)
            if waiting is None or answer is None:
                _log.warning("%s answered something it was not asked", self._target.name)
                return False
            if not waiting.done():
                waiting.set_result(answer)
            return True
        if (reply := reply_to(data)) is not None:
            await self._post(reply, self._headers)
        else:
            for listener in list(self._listeners.values()):
                await listener(data)
        return False
