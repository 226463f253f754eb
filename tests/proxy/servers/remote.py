"""A Streamable HTTP server on loopback, with a front that can misbehave."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import mcp_types as types
from mcp.server.lowlevel import Server

from tests.serving import serving

FILE = {"type": "object", "properties": {"file": {"type": "string", "format": "file"}}}


async def on_list(_: Any, __: Any) -> types.ListToolsResult:
    plain = {"type": "object"}
    tools = [types.Tool(name=name, input_schema=plain) for name in ("echo", "big", "wait")]
    return types.ListToolsResult(tools=[*tools, types.Tool(name="file", input_schema=FILE)])


async def on_call(_: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    if params.name == "wait":
        await asyncio.Event().wait()
    text = "x" * 2_000_000 if params.name == "big" else "ran"
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)],
        structured_content=params.arguments or {},
    )


class Remote:
    """The server; `answer` makes the front answer calls itself, `requests` is what it saw."""

    def __init__(self, *, json_response: bool) -> None:
        server: Server[Any] = Server("remote", on_list_tools=on_list, on_call_tool=on_call)
        self._app = server.streamable_http_app(json_response=json_response)
        self.answer: tuple[int, list[tuple[bytes, bytes]], bytes] | None = None
        self.requests: list[dict[str, str]] = []
        self.port = 0
        self._listener: socket.socket | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            self.requests.append(headers | {"path": scope["path"]})
            if self.answer is not None:
                status, extra, body = self.answer
                await send({"type": "http.response.start", "status": status, "headers": extra})
                await send({"type": "http.response.body", "body": body})
                return
        await self._app(scope, receive, send)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        with self.bind() as listener:
            async with serving(self, listener, "on"):
                yield

    def bind(self) -> socket.socket:
        """The port, which is this server's from now on; nobody listens before it is served."""
        if self._listener is None:
            self._listener = socket.socket()
            self._listener.bind(("127.0.0.1", 0))
            self.port = self._listener.getsockname()[1]
        return self._listener
