"""A server with a bit of everything, in both eras or in one, that keeps the headers it was sent."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.shared.exceptions import MCPError
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

from tests.conformance.everything.server import Events
from tests.serving import port_of_nobody, serving

NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}, "additionalProperties": False}
FORM = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
CITY = {"type": "object", "properties": {"city": {"type": "string", "x-mcp-header": "City"}}}
TOOLS = [
    types.Tool(name="echo", description="Says it again.", input_schema=NUMBER, title="Echo"),
    types.Tool(name="steps", description="Tells how far it is.", input_schema=NUMBER),
    types.Tool(name="ask", description="Asks for a name.", input_schema={"type": "object"}),
    types.Tool(name="refuse", description="Refuses.", input_schema={"type": "object"}),
    types.Tool(name="break", description="Breaks.", input_schema={"type": "object"}),
    types.Tool(name="wait", description="Waits.", input_schema={"type": "object"}),
    types.Tool(name="city", description="Has a header.", input_schema=CITY),
    types.Tool(name="hidden", description="Was never approved.", input_schema={"type": "object"}),
]


class Everything:
    """The server; `requests` are the headers it saw, `bodies` what came with them."""

    def __init__(
        self, *, eras: str = "both", json_response: bool = False, keeps_events: bool = False
    ) -> None:
        self.eras = eras
        self.requests: list[list[tuple[str, str]]] = []
        self.bodies: list[Any] = []
        self.waiting, self.released = asyncio.Event(), asyncio.Event()
        self.cancelled = asyncio.Event()
        self.port = 0
        server: Server[Any] = Server(
            "everything",
            version="7",
            instructions="Ask me.",
            on_list_tools=self.list_tools,
            on_call_tool=self.call_tool,
            on_list_resources=self.list_resources,
            on_read_resource=self.read_resource,
            on_list_prompts=self.list_prompts,
            on_get_prompt=self.get_prompt,
            on_completion=self.complete,
        )
        self._app = server.streamable_http_app(
            json_response=json_response, event_store=Events() if keeps_events else None
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/mcp"

    @property
    def calls(self) -> list[Any]:
        return [body for body in self.bodies if body.get("method") == "tools/call"]

    @property
    def cities(self) -> list[str]:
        """The values of the header that the tool `city` declares."""
        named = [pair for headers in self.requests for pair in headers]
        return [value for name, value in named if name == "mcp-param-city"]

    async def list_tools(self, _: Any, __: Any) -> types.ListToolsResult:
        return types.ListToolsResult(tools=TOOLS)

    async def call_tool(self, context: Any, params: types.CallToolRequestParams) -> Any:
        given = params.arguments or {}
        match params.name:
            case "steps":
                for n in range(3):
                    await context.session.report_progress(n + 1, 3, f"step {n + 1}")
            case "ask":
                return await self.ask(context, params)
            case "refuse":
                return _said("No.", is_error=True)
            case "break":
                raise MCPError(-32005, "broken", {"x": 1})
            case "wait":
                self.waiting.set()
                try:
                    await self.released.wait()
                finally:
                    self.cancelled.set()
            case _:
                pass
        return _said(f"{params.name} {json.dumps(given)}", structured=given)

    async def ask(self, context: Any, params: types.CallToolRequestParams) -> Any:
        if context.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS:
            answer = await context.session.elicit_form("Who?", FORM, context.request_id)
            return _said(f"Hello {answer.content['name']}")
        raw = context.params
        if "inputResponses" in raw:
            assert raw["requestState"] == "the server's own state"
            return _said(f"Hello {raw['inputResponses']['who']['content']['name']}")
        form = {"mode": "form", "message": "Who?", "requestedSchema": FORM}
        return {
            "resultType": "input_required",
            "inputRequests": {"who": {"method": "elicitation/create", "params": form}},
            "requestState": "the server's own state",
        }

    async def list_resources(self, _: Any, __: Any) -> types.ListResourcesResult:
        return types.ListResourcesResult(
            resources=[types.Resource(uri="test://one", name="one", mime_type="text/plain")]
        )

    async def read_resource(self, _: Any, params: Any) -> types.ReadResourceResult:
        text = types.TextResourceContents(uri=str(params.uri), text="the first")
        return types.ReadResourceResult(contents=[text])

    async def list_prompts(self, _: Any, __: Any) -> types.ListPromptsResult:
        return types.ListPromptsResult(prompts=[types.Prompt(name="greet")])

    async def get_prompt(self, _: Any, params: Any) -> types.GetPromptResult:
        content = types.TextContent(type="text", text=f"Greet {params.name}.")
        return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=content)])

    async def complete(self, _: Any, params: Any) -> types.CompleteResult:
        values = [params.argument.value + "ing"]
        return types.CompleteResult(completion=types.Completion(values=values))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = [(name.decode(), value.decode()) for name, value in scope["headers"]]
        self.requests.append(headers)
        body = b""
        more = scope["method"] == "POST"
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        self.bodies.append(json.loads(body) if body else {})
        if not self._speaks(dict(headers), self.bodies[-1]):
            await _refuse(send)
            return
        await self._app(scope, _again(body, receive), send)

    def _speaks(self, headers: dict[str, str], body: dict[str, Any]) -> bool:
        is_modern = headers.get("mcp-protocol-version") in MODERN_PROTOCOL_VERSIONS
        return self.eras == "both" or is_modern == (self.eras == "modern")

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            self.port = listener.getsockname()[1]
            async with serving(self, listener, "on"):
                yield

    @contextlib.contextmanager
    def away(self) -> Iterator[None]:
        """Its port while it does not serve."""
        with port_of_nobody() as self.port:
            yield


def _said(text: str, *, structured: Any = None, is_error: bool = False) -> types.CallToolResult:
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)],
        structured_content=structured,
        is_error=is_error,
        _meta={"uaol.test/kept": {"n": 1}},
    )


async def _refuse(send: Any) -> None:
    error = {"code": -32600, "message": "Not this era"}
    body = json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode()
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 400, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _again(body: bytes, rest: Any) -> Any:
    has_sent = False

    async def receive() -> Any:
        nonlocal has_sent
        if has_sent:
            return await rest()
        has_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
