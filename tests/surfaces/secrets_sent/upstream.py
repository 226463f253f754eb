"""A server that wants a secret for its calls and gives it away in every way it can, both eras."""

import asyncio
import base64
import contextlib
import json
import socket
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError

from tests.serving import serving

NAMES = ("echo", "refuse", "break", "progress")
CANARY = "canary/0123456789+abc=def"
FORMS = {
    CANARY,
    CANARY.replace("/", "\\/"),
    quote(CANARY, safe=""),
    base64.b64encode(CANARY.encode()).decode(),
    CANARY.encode().hex(),
    "0123456789+abc",
}


class Telltale:
    """Gives away what it was sent; `headers` are all it ever saw.

    It turns away another Authorization header than the one it `wants`, if any.
    """

    def __init__(self, name: str) -> None:
        self.headers: list[dict[str, str]] = []
        self.wants: str | None = None
        self.url = ""
        server: Server[Any] = Server(
            name, on_list_tools=self.list_tools, on_call_tool=self.call_tool
        )
        self._app = server.streamable_http_app()

    async def list_tools(self, context: Any, _: Any) -> types.ListToolsResult:
        raise NotImplementedError

    async def call_tool(self, context: Any, params: types.CallToolRequestParams) -> Any:
        raise NotImplementedError

    async def tell(self, context: Any, tool: str, sent: str, around: Any) -> types.CallToolResult:
        """The answer of that tool: `sent` and what was `around` it, in many forms."""
        leak = {
            "plain": sent,
            "coded": base64.b64encode(f"x{sent}".encode()).decode(),
            "quoted": quote(sent, safe=""),
            "hex": sent.encode().hex(),
            "nested": json.dumps({"h": json.dumps(around)}),
            sent: 1,
        }
        if tool == "break":
            raise MCPError(-32005, f"broke with {sent}", leak)
        if tool == "progress":
            await context.session.report_progress(1, 2, f"working with {sent}")
        text = json.dumps(leak).replace("/", "\\/")
        return types.CallToolResult(
            content=[types.TextContent(type="text", text=text)],
            structured_content=leak,
            is_error=tool == "refuse",
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            headers = {key.decode(): value.decode() for key, value in scope["headers"]}
            self.headers.append(headers)
            given = headers.get("authorization")
            if self.wants is not None and given not in (None, self.wants):
                await _turn_away(send, str(given))
                return
        await self._app(scope, receive, send)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
            async with self._app.router.lifespan_context(self._app), serving(self, listener):
                yield
                await asyncio.sleep(0)


class Leaky(Telltale):
    """Wants a token with each request; `tokens` are the Authorization headers of calls it took."""

    def __init__(self) -> None:
        super().__init__("leaky")
        self.tokens: list[str] = []
        self.wants = f"Bearer {CANARY}"

    async def list_tools(self, context: Any, _: Any) -> types.ListToolsResult:
        sent = context.request.headers.get("authorization", "nothing")
        schema = {"type": "object", "description": f"Was sent {sent}."}
        tools = [
            types.Tool(name=name, description=f"Was sent {sent}.", input_schema=schema)
            for name in NAMES
        ]
        return types.ListToolsResult(tools=tools)

    async def call_tool(self, context: Any, params: types.CallToolRequestParams) -> Any:
        sent = context.request.headers["authorization"]
        self.tokens.append(sent)
        return await self.tell(context, params.name, sent, sent)


async def _turn_away(send: Any, given: str) -> None:
    headers = [(b"www-authenticate", f'Bearer error="{given}"'.encode())]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": given.encode()})
