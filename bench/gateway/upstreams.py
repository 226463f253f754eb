"""Tool servers to call: an echo on the SDK, and one that does next to nothing.

`python -m bench.gateway.upstreams echo|null [--tools N]`
"""

import argparse
import logging
import re
from typing import Any

import orjson
from mcp.server import MCPServer

from bench.gateway.serving import serve

_ID = re.compile(rb'"id":(\d+|"[^"]*")')
_INFO = b'{"io.modelcontextprotocol/serverInfo":{"name":"null","version":"1"}}'
_CONTENT = b'{"content":[{"type":"text","text":"hi"}],"structuredContent":{"result":"hi"}'
_SAID = b'%b,"isError":false,"resultType":"complete","_meta":%b}' % (_CONTENT, _INFO)
_SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
}
_OUTPUT = {
    "type": "object",
    "properties": {"result": {"type": "string"}},
    "required": ["result"],
}
_JSON = [(b"content-type", b"application/json")]


def echo(tools: int) -> Any:
    """An echo on the SDK's `MCPServer`, without sessions, answering JSON."""
    server = MCPServer("echo")

    @server.tool(name="echo")
    async def said(text: str) -> str:
        """Say it again."""
        return text

    for number in range(1, tools):
        server.add_tool(said, name=f"echo_{number}", description=f"Say it again ({number}).")
    return server.streamable_http_app(json_response=True, stateless_http=True)


async def null(scope: Any, receive: Any, send: Any) -> None:
    """Answers every call alike, and the two questions that clients ask before."""
    body, has_more = b"", True
    while has_more:
        message = await receive()
        body += message.get("body", b"")
        has_more = message.get("more_body", False)
    found = _ID.search(body)
    request_id = found[1] if found else b"null"
    if b'"tools/call"' in body:
        result = _SAID
    else:
        result = _listed() if b'"tools/list"' in body else _discovered()
    answer = b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (request_id, result)
    headers = [*_JSON, (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


def _cached(**more: Any) -> bytes:
    return orjson.dumps({"resultType": "complete", "ttlMs": 0, "cacheScope": "private", **more})


def _listed() -> bytes:
    tool = {"name": "echo", "description": "Says hi.", "inputSchema": _SCHEMA}
    return _cached(tools=[tool | {"outputSchema": _OUTPUT}])


def _discovered() -> bytes:
    return _cached(supportedVersions=["2026-07-28"], capabilities={"tools": {}})


def main() -> None:
    """Parse, serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["echo", "null"])
    parser.add_argument("--tools", type=int, default=1)
    args = parser.parse_args()
    # A line for every session would be most of what the echo costs.
    logging.disable(logging.INFO)
    is_echo = args.kind == "echo"
    serve(echo(args.tools) if is_echo else null, has_lifespan=is_echo)


if __name__ == "__main__":
    main()
