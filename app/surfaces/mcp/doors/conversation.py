"""One WebSocket between its acceptance and its end: frames to messages, and messages to frames.

The SDK's loop serves both eras of the protocol over two streams; the first request decides.
"""

import logging
from enum import IntEnum
from functools import partial
from typing import Any

import anyio
import orjson
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.server.lowlevel import Server
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from mcp_types import (
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    RequestId,
    jsonrpc_message_adapter,
)
from pydantic import ValidationError
from starlette.requests import Request
from starlette.types import Receive, Send

from app.surfaces.problems import unexpected

TOO_MANY_CALLS = -32010
_Item = SessionMessage | Exception
_log = logging.getLogger(__name__)


class Closing(IntEnum):
    """Why the server closes a socket (RFC 6455, section 7.4); those above 4000 are ours."""

    NOT_TEXT = 1003
    POLICY = 1008
    TOO_BIG = 1009
    FAULT = 1011
    UNAUTHENTICATED = 4401
    TOO_LONG = 4408


class Conversation:
    """Reads, serves and writes one socket; `run` returns when all three are done."""

    def __init__(
        self,
        server: Server[Any],
        request: Request,
        receive: Receive,
        send: Send,
        *,
        largest: int,
        most_calls: int,
    ) -> None:
        """`largest` is in bytes of one message, `most_calls` are under way at once."""
        self._server = server
        self._request = request
        self._receive = receive
        self._send = send
        self._largest = largest
        self._most_calls = most_calls
        self._under_way: set[str] = set()
        self._reading = anyio.CancelScope()
        self._closing: tuple[Closing, str] | None = None
        self._is_open = True

    def end(self, code: Closing, reason: str) -> None:
        """Close the socket; what is under way is cancelled. The first reason counts."""
        self._closing = self._closing or (code, reason)
        self._reading.cancel()

    async def run(self) -> None:
        """Serve until the client leaves or `end` is called."""
        inbound, read = anyio.create_memory_object_stream[_Item](0)
        write, outbound = anyio.create_memory_object_stream[SessionMessage](0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._serve, read, write)
            tasks.start_soon(self._write, outbound)
            async with inbound:
                with self._reading:
                    await self._read(inbound)
            # The SDK's loop ends with its input: it cancels what is under way, then its output
            # ends, which ends the writer.
            await self._close()

    async def _read(self, inbound: MemoryObjectSendStream[_Item]) -> None:
        while (event := await self._receive())["type"] != "websocket.disconnect":
            text = event.get("text")
            if text is None:
                return self.end(Closing.NOT_TEXT, "A message is a text frame.")
            raw = text.encode()
            if len(raw) > self._largest:
                return self.end(Closing.TOO_BIG, f"A message has at most {self._largest} bytes.")
            await self._take(raw, inbound)
        self._is_open = False
        return None

    async def _take(self, raw: bytes, inbound: MemoryObjectSendStream[_Item]) -> None:
        message = _parsed(raw)
        if isinstance(message, _Refused):
            await self._tell(message.answer)
            return
        settled = None
        if isinstance(message, JSONRPCRequest):
            if (refusal := self._refusal(message.id)) is not None:
                await self._tell(refusal)
                return
            self._under_way.add(str(message.id))
            settled = partial(self._settle, message.id)
        metadata = ServerMessageMetadata(
            request_context=self._request, on_request_unanswered=settled
        )
        try:
            await inbound.send(SessionMessage(message, metadata))
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            self.end(Closing.FAULT, "The server ended the session.")

    def _refusal(self, request_id: RequestId) -> JSONRPCError | None:
        if str(request_id) in self._under_way:
            return _error(request_id, INVALID_REQUEST, "A request with this id is under way.")
        if len(self._under_way) >= self._most_calls:
            text = f"{self._most_calls} requests are under way on this socket."
            return _error(request_id, TOO_MANY_CALLS, text, {"code": "rate_limited"})
        return None

    async def _settle(self, request_id: RequestId) -> None:
        self._under_way.discard(str(request_id))

    async def _serve(
        self,
        read: MemoryObjectReceiveStream[_Item],
        write: MemoryObjectSendStream[SessionMessage],
    ) -> None:
        options = self._server.create_initialization_options()
        try:
            await self._server.run(read, write, options)
        except Exception as error:  # noqa: BLE001 - the border; its cause is in the log
            told = unexpected(error, "websocket")
            self.end(Closing.FAULT, f"internal, event {told.details['event_id']}")
        finally:
            read.close()
            write.close()

    async def _write(self, outbound: MemoryObjectReceiveStream[SessionMessage]) -> None:
        async with outbound:
            async for item in outbound:
                message = item.message
                if isinstance(message, JSONRPCResponse | JSONRPCError) and message.id is not None:
                    await self._settle(message.id)
                await self._tell(message)

    async def _tell(self, message: JSONRPCMessage) -> None:
        text = message.model_dump_json(by_alias=True, exclude_unset=True)
        await self._put({"type": "websocket.send", "text": text})

    async def _close(self) -> None:
        if self._closing is not None:
            code, reason = self._closing
            await self._put({"type": "websocket.close", "code": int(code), "reason": reason})
        self._is_open = False

    async def _put(self, event: dict[str, Any]) -> None:
        if not self._is_open:
            return
        try:
            await self._send(event)
        except (OSError, RuntimeError) as error:
            # The client left, or the server closed the socket below this: reading tells.
            _log.debug("not sent", extra={"reason": str(error)})
            self._is_open = False


class _Refused:
    """What is no message, and the answer to it."""

    def __init__(self, answer: JSONRPCError) -> None:
        self.answer = answer


def _parsed(raw: bytes) -> JSONRPCMessage | _Refused:
    try:
        message = jsonrpc_message_adapter.validate_json(raw, by_name=False)
        # A request whose id is none of JSON-RPC's reads as a notification: nobody would answer it.
        if not (isinstance(message, JSONRPCNotification) and "id" in orjson.loads(raw)):
            return message
        is_json = True
    except ValidationError as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        is_json = all(each["type"] != "json_invalid" for each in faults)
    if not is_json:
        return _Refused(_error(None, PARSE_ERROR, "This is not JSON."))
    text = "This is not a JSON-RPC 2.0 message; batches are not understood."
    return _Refused(_error(_id_of(raw), INVALID_REQUEST, text))


def _id_of(raw: bytes) -> RequestId | None:
    try:
        message = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    given = message.get("id") if isinstance(message, dict) else None
    return given if isinstance(given, int | str) and not isinstance(given, bool) else None


def _error(
    request_id: RequestId | None, code: int, message: str, data: dict[str, Any] | None = None
) -> JSONRPCError:
    error = (
        ErrorData(code=code, message=message)
        if data is None
        else ErrorData(code=code, message=message, data=data)
    )
    return JSONRPCError(jsonrpc="2.0", id=request_id, error=error)
