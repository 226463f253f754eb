"""Two side doors to the platform, for programs that cannot send a key or know its tools' names.

The suite's command sends no `Authorization` header, and asks for its fixtures by plain names, while
the platform puts a server's name before each tool's. Everything else passes as it is, byte by byte.
"""

import json
from collections.abc import Iterable
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import Message, Receive, Scope, Send

from tests.conformance.asking_flows import FLOWS, run_of

KEYED, PLAIN = "/keyed", "/plain"


class Front:
    """`/keyed/...` is `...` with a key; `/plain/...` also has one server's tools by plain names."""

    def __init__(self, app: Starlette, server: str, tools: Iterable[str]) -> None:
        self._app = app
        # Whoever serves an application asks for this.
        self.state = app.state
        self._prefix = f"{server}."
        self._tools = frozenset(tools)
        self.key = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        door = next((door for door in (KEYED, PLAIN) if self._leads(scope, door)), None)
        if door is None:
            await self._app(scope, receive, send)
            return
        inside = self._inside(scope, door)
        if door == PLAIN and scope["method"] == "POST":
            await self._rename(inside, receive, send)
        else:
            await self._app(inside, receive, send)

    @staticmethod
    def _leads(scope: Scope, door: str) -> bool:
        return scope["type"] == "http" and scope["path"].startswith(f"{door}/")

    def _inside(self, scope: Scope, door: str) -> Scope:
        path = scope["path"].removeprefix(door)
        inside = scope | {"path": path, "raw_path": path.encode()}
        if "authorization" not in Headers(scope=scope):
            key = (b"authorization", f"Bearer {self.key}".encode())
            inside["headers"] = [*scope["headers"], key]
        return inside

    async def _rename(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _body(receive)
        request = _parsed(body)
        method, params = request.get("method"), request.get("params")
        if method == "tools/call" and isinstance(params, dict):
            scope, body = self._called(scope, body, request)
        if method == "tools/list":
            send = _Shortened(send, self._prefix)
        await self._app(scope, _replayed(body, receive), send)

    def _called(self, scope: Scope, body: bytes, request: dict[str, Any]) -> tuple[Scope, bytes]:
        params = request["params"]
        name = params.get("name")
        if name in FLOWS:
            full, params["arguments"] = run_of(name, params.get("arguments") or {})
        elif name in self._tools:
            full = self._prefix + name
        else:
            return scope, body
        params["name"] = full
        body = json.dumps(request).encode()
        headers = MutableHeaders(raw=list(scope["headers"]))
        headers["content-length"] = str(len(body))
        # Only a name that was right before: a wrong one must stay wrong.
        if headers.get("mcp-name") == name:
            headers["mcp-name"] = full
        return scope | {"headers": headers.raw}, body


class _Shortened:
    """Takes the server's name away from the tools in one answer."""

    def __init__(self, send: Send, prefix: str) -> None:
        self._send = send
        self._prefix = prefix
        self._start: Message = {}
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if message.get("more_body", False):
            return
        body = self._body.replace(f'"{self._prefix}'.encode(), b'"')
        headers = MutableHeaders(raw=list(self._start["headers"]))
        if "content-length" in headers:
            headers["content-length"] = str(len(body))
        await self._send(self._start | {"headers": headers.raw})
        await self._send({"type": "http.response.body", "body": body})


async def _body(receive: Receive) -> bytes:
    body, is_more = b"", True
    while is_more:
        message = await receive()
        body += message.get("body", b"")
        is_more = message.get("more_body", False)
    return body


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body once more, then whatever comes: the client's leaving must be heard."""
    waiting = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> Message:
        return waiting.pop() if waiting else await receive()

    return replay
