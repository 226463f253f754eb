"""MCP over a WebSocket, the client's side: one JSON-RPC message in each text frame.

A transport for the SDK's client, in both eras of the protocol:

    headers = {"authorization": f"Bearer {key}"}
    async with Client(websocket_client("wss://host/ws", headers)) as client:
        await client.list_tools()
"""

import contextlib
import ssl as tls
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import jsonrpc_message_adapter
from pydantic import ValidationError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

SUBPROTOCOL = "mcp"
TICKET = "uaol.ticket."
Inbound = SessionMessage | Exception
Streams = tuple[MemoryObjectReceiveStream[Inbound], MemoryObjectSendStream[SessionMessage]]


class WebSocketRefusedError(Exception):
    """The server let nobody in: its HTTP status, and what it said (mostly problem JSON)."""

    def __init__(self, status: int, body: str, headers: Mapping[str, str]) -> None:
        super().__init__(f"the server refused the WebSocket with HTTP {status}: {body}")
        self.status = status
        self.body = body
        self.headers = dict(headers)


class WebSocketClosedError(Exception):
    """The server closed the socket; `code` is one of those in `docs/reference/websocket.md`."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the server closed the WebSocket: {code} {reason}".rstrip())
        self.code = code
        self.reason = reason


@asynccontextmanager
async def websocket_client(
    url: str,
    headers: Mapping[str, str] | None = None,
    *,
    ticket: str | None = None,
    ssl: tls.SSLContext | None = None,
    max_size: int = 64 * 2**20,
    open_timeout: float = 10.0,
) -> AsyncIterator[Streams]:
    """Connect to `url` (`ws://` or `wss://`) and yield the streams of the session.

    `headers` go with the handshake, as `authorization`; `ticket` takes its place where no header
    can be sent. `max_size` is the largest message in bytes, `open_timeout` in seconds.

    Raises `WebSocketRefusedError` if the server refuses, `OSError` or `TimeoutError` if it cannot
    be reached. A socket that the server closes ends the session; the stream then has a
    `WebSocketClosedError` as its last item.
    """
    socket = await _connected(url, headers, ticket, ssl, max_size, open_timeout)
    inbound, read = anyio.create_memory_object_stream[Inbound](0)
    write, outbound = anyio.create_memory_object_stream[SessionMessage](0)
    async with socket, inbound, read, write, outbound, anyio.create_task_group() as tasks:
        tasks.start_soon(_receive, socket, inbound)
        tasks.start_soon(_send, socket, outbound)
        try:
            yield read, write
        finally:
            tasks.cancel_scope.cancel()


async def _connected(
    url: str,
    headers: Mapping[str, str] | None,
    ticket: str | None,
    ssl: tls.SSLContext | None,
    max_size: int,
    open_timeout: float,
) -> ClientConnection:
    # None would be refused for wss://, whose default is a context of its own.
    secured: dict[str, Any] = {} if ssl is None else {"ssl": ssl}
    offered = [SUBPROTOCOL] if ticket is None else [SUBPROTOCOL, TICKET + ticket]
    try:
        return await connect(
            url,
            subprotocols=[Subprotocol(each) for each in offered],
            additional_headers=dict(headers or {}),
            compression=None,
            max_size=max_size,
            open_timeout=open_timeout,
            **secured,
        )
    except InvalidStatus as error:
        response = error.response
        body = (response.body or b"").decode(errors="replace")
        answered = {name.lower(): value for name, value in response.headers.raw_items()}
        raise WebSocketRefusedError(response.status_code, body, answered) from error


async def _receive(socket: ClientConnection, inbound: MemoryObjectSendStream[Inbound]) -> None:
    async with inbound:
        # The session may be over before the socket is.
        with contextlib.suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            try:
                while True:
                    await inbound.send(_parsed(await socket.recv()))
            except ConnectionClosed as closed:
                frame = closed.rcvd or closed.sent
                code, reason = (1006, "") if frame is None else (frame.code, frame.reason)
                await inbound.send(WebSocketClosedError(code, reason))


def _parsed(frame: str | bytes) -> Inbound:
    try:
        return SessionMessage(jsonrpc_message_adapter.validate_json(frame, by_name=False))
    except ValidationError as error:
        return error


async def _send(
    socket: ClientConnection, outbound: MemoryObjectReceiveStream[SessionMessage]
) -> None:
    async with outbound:
        # That the socket is closed is told by the reading side.
        with contextlib.suppress(ConnectionClosed):
            async for item in outbound:
                text = item.message.model_dump_json(by_alias=True, exclude_unset=True)
                await socket.send(text)
