"""A real tool server on loopback whose tools a test can change while it runs."""

from typing import Any

import mcp_types as types
from mcp.server.lowlevel import Server

from tests.proxy.servers.remote import Remote

WORD = {
    "type": "object",
    "properties": {"word": {"type": "string"}},
    "required": ["word"],
    "additionalProperties": False,
}


class Upstream(Remote):
    """Tools by name with their descriptions; each says its word again, `fail` refuses.

    With `keys` it answers only to one of them in `x-api-key`.
    """

    def __init__(self, **tools: str) -> None:
        super().__init__(json_response=True)
        self.keys: set[str] = set()
        self.tools = tools or {"echo": "Says it again.", "fail": "Refuses."}
        server: Server[Any] = Server("lab", on_list_tools=self._list, on_call_tool=self._call)
        self._app = server.streamable_http_app(json_response=True, stateless_http=True)

    async def _list(self, _: Any, __: Any) -> types.ListToolsResult:
        return types.ListToolsResult(
            tools=[
                types.Tool(name=name, description=text, input_schema=WORD, title=name.title())
                for name, text in self.tools.items()
            ]
        )

    async def _call(self, _: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        word = (params.arguments or {})["word"]
        return types.CallToolResult(
            content=[types.TextContent(type="text", text=word)],
            structured_content={"said": word},
            is_error=params.name == "fail",
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        given = dict(scope.get("headers", ())).get(b"x-api-key", b"").decode()
        if scope["type"] == "http" and self.keys and given not in self.keys:
            await send({"type": "http.response.start", "status": 401, "headers": []})
            await send({"type": "http.response.body", "body": b"no"})
            return
        await super().__call__(scope, receive, send)
