"""One session with a server of 2024-11-05 over HTTP with SSE: a stream comes, messages are posted.

The stream's first event names where to post; an address of another origin is refused, since the
credentials would go there.
"""

import asyncio
import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress
from typing import Self

from yarl import URL

from app.kernel.errors import AppError
from app.proxy.faults import output_too_large, protocol_error, server_down
from app.proxy.wire.answers import JSON, STREAM, answer_of, events, media_type, raise_for_status
from app.proxy.wire.connection import Response
from app.proxy.wire.envelope import cut, notification, request
from app.proxy.wire.faults import RefusedRequestError, SessionLostError
from app.proxy.wire.legacy import agreed_version, cancelled, hello, reply_to
from app.proxy.wire.modern import is_repeatable, next_id
from app.proxy.wire.pool import Pool, address_of
from app.proxy.wire.types import Answer, OnMessage, Target

_BAD = 400
_UNKNOWN = 404
_OPEN_S = 15.0
_MOST_MESSAGES = 100
_log = logging.getLogger(__name__)


class _Inbox:
    """What the stream brings for one request, taken in by whoever sent it.

    So a caller who is slow keeps nobody else waiting for what comes by the same stream.
    """

    def __init__(self, on_message: OnMessage | None) -> None:
        self._on_message = on_message
        self._came: asyncio.Queue[bytes | Answer | AppError] = asyncio.Queue()
        self._is_over = False

    def tell(self, message: bytes) -> None:
        """A message before the answer; of too many the newest are left out."""
        if self._on_message is not None and self._came.qsize() < _MOST_MESSAGES:
            self._came.put_nowait(message)

    def end(self, outcome: Answer | AppError) -> None:
        """The answer, or why there is none; the first is the one that counts."""
        if not self._is_over:
            self._is_over = True
            self._came.put_nowait(outcome)

    async def answer(self) -> Answer:
        """The answer, after the messages before it."""
        while isinstance(found := await self._came.get(), bytes):
            if self._on_message is not None:
                await self._on_message(found)
        if isinstance(found, AppError):
            raise found
        return found


class SseSession:
    """A session whose answers all come by one stream; when that ends, so does the session."""

    def __init__(self, pool: Pool, target: Target, headers: Mapping[str, str]) -> None:
        self._pool, self._target, self._headers = pool, target, dict(headers)
        self._waiting: dict[bytes, _Inbox] = {}
        self._endpoint: asyncio.Future[URL] = asyncio.get_running_loop().create_future()
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, pool: Pool, target: Target, headers: Mapping[str, str]) -> Self:
        """Open the stream and shake hands."""
        session = cls(pool, target, headers)
        session._task = asyncio.create_task(session._read(), name=f"sse-{target.name}")
        try:
            async with asyncio.timeout(_OPEN_S):
                await session._endpoint
                answer = await session.request(next_id(), "initialize", hello(), headers)
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
        request_id: bytes,
        method: str,
        params: bytes,
        headers: Mapping[str, str],
        on_message: OnMessage | None = None,
    ) -> Answer:
        """Post a request and wait for its answer in the stream."""
        if self._task is None or self._task.done():
            raise SessionLostError.of(self._target.name)
        inbox = self._waiting[request_id] = _Inbox(on_message)
        try:
            body = request(request_id, method, params)
            await self._post(body, headers, is_repeatable=is_repeatable(method))
            return await inbox.answer()
        finally:
            del self._waiting[request_id]

    async def cancel(self, request_id: bytes, headers: Mapping[str, str]) -> None:
        """See `Session.cancel`."""
        await self._post(cancelled(request_id), headers)

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
            if response.status == _UNKNOWN:
                raise SessionLostError.of(self._target.name)
            if response.status >= _BAD:
                raise RefusedRequestError.of(self._target.name, response.status)

    async def _read(self) -> None:
        """Hand out what comes until the stream ends; then fail whoever still waits.

        What they sent may have been carried out: that the session is lost is not said to them.
        """
        fault = server_down(self._target.name, "ended its stream without an answer")
        try:
            async with AsyncExitStack() as stack:
                response = await stack.enter_async_context(
                    self._pool.send(
                        self._target,
                        "GET",
                        {**self._headers, "Accept": STREAM},
                        is_repeatable=True,
                        is_stream=True,
                    )
                )
                await self._follow(response)
        except SessionLostError as error:
            _log.info("%s", error.message)
        except AppError as error:
            fault = error
        except ValueError as error:
            fault = protocol_error(self._target.name, f"broke its stream ({type(error).__name__})")
        finally:
            self._end(fault)

    def _end(self, fault: AppError) -> None:
        for inbox in self._waiting.values():
            inbox.end(fault)
        if not self._endpoint.done():
            self._endpoint.set_exception(fault)
            # Nobody may be waiting for the address any more.
            self._endpoint.exception()

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
            waiting.end(answer)
            return True
        if (reply := reply_to(data)) is not None:
            await self._post(reply, self._headers)
        else:
            for inbox in self._waiting.values():
                inbox.tell(data)
        return False
