"""An upstream of 2026-07-28 on the loopback whose every answer a test can choose."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import orjson
from mcp_types.version import LATEST_MODERN_VERSION

from app.surfaces.listening import bind
from tests.serving import serving

SCHEMA = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "n": {"type": "integer"},
        "deep": {"type": "object", "properties": {"region": {"type": "string"}}},
    },
    "required": ["text"],
    "additionalProperties": False,
}
REGION = {
    "type": "object",
    "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
}
SAID = {
    "type": "object",
    "properties": {"said": {"type": "string"}},
    "required": ["said"],
    "additionalProperties": False,
}


def _tool(name: str, schema: Mapping[str, Any] = SCHEMA, **more: Any) -> dict[str, Any]:
    return {"name": name, "description": f"The tool {name}.", "inputSchema": schema, **more}


TOOLS = [
    _tool("echo", outputSchema=SAID),
    _tool("free"),
    _tool("dear"),
    _tool("odd"),
    _tool("region", REGION),
    _tool("wait"),
    _tool("off"),
    _tool("held", _meta={"uaol/cache_ttl": 60}),
    _tool("market", _meta={"uaol/cache_ttl": 60, "uaol/cache_scope": "public"}),
    _tool("strict", _meta={"uaol/errors": "charged"}),
]


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def said(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "content": [text(str(arguments.get("text", "")))],
        "structuredContent": {"said": str(arguments.get("text", ""))},
        "isError": False,
        "resultType": "complete",
    }


class Upstream:
    """`answer` replaces the next answers of `odd`: a result, raw bytes or an HTTP response."""

    def __init__(self) -> None:
        self.url = ""
        self.calls: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.answer: Any = None
        self.is_waiting = asyncio.Event()
        self.has_left = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        self.bodies.append(body)
        request = orjson.loads(body) if body else {}
        status, answer = await self._respond(scope, request, receive)
        kind = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": kind})
        await send({"type": "http.response.body", "body": answer})

    async def _respond(self, scope: Any, request: Any, receive: Any) -> tuple[int, bytes]:
        method, request_id = request.get("method"), request.get("id")
        if method is None or request_id is None:
            return 202, b""
        found: Any
        match method:
            case "server/discover":
                found = {
                    "supportedVersions": [LATEST_MODERN_VERSION],
                    "capabilities": {"tools": {}},
                    "resultType": "complete",
                    "ttlMs": 0,
                    "cacheScope": "private",
                }
            case "tools/list":
                found = {
                    "tools": TOOLS,
                    "resultType": "complete",
                    "ttlMs": 0,
                    "cacheScope": "private",
                }
            case "tools/call":
                self.calls.append(request["params"])
                self.headers.append({k.decode(): v.decode() for k, v in scope["headers"]})
                found = await self._call(request["params"], receive)
            case _:
                return 404, _message(request_id, error={"code": -32601, "message": "Not found"})
        if isinstance(found, tuple):
            return found
        if isinstance(found, bytes):
            return 200, b'{"jsonrpc":"2.0","id":%b,%b}' % (orjson.dumps(request_id), found)
        return 200, _message(request_id, result=found)

    async def _call(self, params: Any, receive: Any) -> Any:
        if params["name"] == "wait":
            self.is_waiting.set()
            while (await receive())["type"] != "http.disconnect":
                pass
            self.has_left.set()
        if params["name"] in ("odd", "strict") and self.answer is not None:
            return self.answer
        return said(params.get("arguments") or {})


def _message(request_id: Any, **more: Any) -> bytes:
    return orjson.dumps({"jsonrpc": "2.0", "id": request_id, **more})


@contextlib.asynccontextmanager
async def upstream() -> AsyncIterator[Upstream]:
    played, sock = Upstream(), bind("127.0.0.1", 0)
    port = sock.getsockname()[1]
    async with serving(played, sock):
        played.url = f"http://127.0.0.1:{port}/mcp"
        yield played
