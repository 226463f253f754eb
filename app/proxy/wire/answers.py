"""Reads what a server answers to one request: as JSON or as a stream, capped, matched by its id."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPStatus

from app.kernel.errors import AppError
from app.proxy.credentials import UpstreamRefusedError
from app.proxy.faults import leads_back, output_too_large, protocol_error, server_down
from app.proxy.wire.connection import Response
from app.proxy.wire.envelope import Parts, cut, is_object
from app.proxy.wire.faults import RefusedRequestError
from app.proxy.wire.pool import read_all
from app.proxy.wire.sse import Event, EventReader, EventTooLargeError
from app.proxy.wire.types import Answer, OnMessage, Target

JSON = "application/json"
STREAM = "text/event-stream"
_REFUSED = (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


async def read_answer(
    response: Response,
    target: Target,
    request_id: bytes,
    on_message: OnMessage | None = None,
) -> Answer:
    """The answer to the request of that id; messages before it go to `on_message`.

    Raises `UpstreamRefusedError` (401, 403), `RefusedRequestError` (another 4xx that is no
    JSON-RPC), `tool_server_down`, `tool_protocol_error`, `tool_output_too_large`.
    """
    status, kind = response.status, media_type(response)
    raise_for_status(response, target)
    if kind == JSON:
        return _read_json(await read_all(response, target), target, status, request_id)
    if status >= HTTPStatus.BAD_REQUEST:
        raise RefusedRequestError.of(target.name, status)
    if status == HTTPStatus.ACCEPTED:
        raise protocol_error(target.name, "took a request without answering it")
    if kind == STREAM:
        return await _read_stream(response, target, request_id, on_message)
    raise protocol_error(target.name, f"answers with the content type {kind[:60]!r}")


def media_type(response: Response) -> str:
    """The content type without its parameters, in lower case."""
    given = response.headers.get("content-type", "")
    return given.partition(";")[0].strip().lower()


def raise_for_status(response: Response, target: Target) -> None:
    """Raise for credentials that are refused, and for a server that fails."""
    status = response.status
    if status in _REFUSED:
        raise UpstreamRefusedError(target.name, status, response.headers.get("www-authenticate"))
    if status == HTTPStatus.LOOP_DETECTED:
        raise leads_back(target.name)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        raise server_down(target.name, f"answers with HTTP {status}")


async def events(response: Response, target: Target) -> AsyncGenerator[Event]:
    """The events of a stream. Raises `tool_output_too_large` where one is larger than allowed."""
    reader = EventReader(target.output_limit)
    try:
        while chunk := await response.chunk():
            for event in reader.feed(chunk):
                yield event
    except EventTooLargeError:
        raise output_too_large(target.name, target.output_limit) from None


def _read_json(data: bytes, target: Target, status: int, request_id: bytes) -> Answer:
    try:
        parts = _cut(data, target)
    except AppError:
        if status >= HTTPStatus.BAD_REQUEST:
            raise RefusedRequestError.of(target.name, status) from None
        raise
    answer = answer_of(parts, target, status, request_id)
    if answer is None:
        raise protocol_error(target.name, "answered with a message that is no answer")
    return answer


async def _read_stream(
    response: Response,
    target: Target,
    request_id: bytes,
    on_message: OnMessage | None,
) -> Answer:
    """The answer in a stream; all that comes before it counts towards the limit, too."""
    size = 0
    async with aclosing(events(response, target)) as found:
        async for event in found:
            if not event.data:
                continue
            parts = _cut(event.data, target)
            answer = answer_of(parts, target, response.status, request_id)
            if answer is not None:
                return answer
            size += len(event.data)
            if size > target.output_limit:
                raise output_too_large(target.name, target.output_limit)
            if on_message is not None:
                await on_message(event.data)
    raise server_down(target.name, "ended its stream without an answer")


def answer_of(parts: Parts, target: Target, status: int, request_id: bytes) -> Answer | None:
    """The answer in a message, None for a request or notification; else `tool_protocol_error`."""
    if parts.method is not None:
        return None
    if bool(parts.result) == bool(parts.error):
        raise protocol_error(target.name, "answered with neither a result nor an error")
    # A request that could not be read has no id to answer to.
    is_unread = status >= HTTPStatus.BAD_REQUEST and parts.id in (b"", b"null")
    if parts.id != request_id and not (parts.error and is_unread):
        raise protocol_error(target.name, "answered another request than it was sent")
    if parts.error:
        return Answer(status, None, parts.error)
    if not is_object(parts.result):
        raise protocol_error(target.name, "answered with a result that is no object")
    return Answer(status, parts.result)


def _cut(data: bytes, target: Target) -> Parts:
    try:
        return cut(data)
    except ValueError as error:
        raise protocol_error(target.name, "answered with something that is no JSON-RPC") from error
