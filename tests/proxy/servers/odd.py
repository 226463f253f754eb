"""A server that behaves as told: its tools echo, wait, hang, die, flood, babble or lie."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

TEXT = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
FILE = {"type": "string", "format": "file"}
FILES = {
    "type": "object",
    "$defs": {"part": {"type": "object", "properties": {"path": FILE, "note": {"type": "string"}}}},
    "properties": {
        "file": {"anyOf": [FILE, {"type": "null"}]},
        "many": {"type": "array", "items": FILE},
        "part": {"$ref": "#/$defs/part"},
    },
}
Answer = types.CallToolResult


def answer(structured: Any = None, text: str = "", *, is_error: bool = False) -> Answer:
    content: list[Any] = [types.TextContent(type="text", text=text)] if text else []
    return Answer(content=content, structured_content=structured, is_error=is_error)


# The SDK moves the real standard output away from what prints.
OUT = os.dup(1)


def write(data: bytes) -> None:
    while data:
        data = data[os.write(OUT, data) :]


async def echo(arguments: dict[str, Any]) -> Answer:
    return answer({"text": arguments["text"]})


async def files(arguments: dict[str, Any]) -> Answer:
    return answer(arguments)


async def environment(_: dict[str, Any]) -> Answer:
    return answer(dict(os.environ))


async def pid(_: dict[str, Any]) -> Answer:
    return answer({"pid": os.getpid()})


async def wait(_: dict[str, Any]) -> Answer:
    await anyio.sleep_forever()
    return answer()


async def hang(_: dict[str, Any]) -> Answer:
    threading.Event().wait()
    return answer()


async def die(_: dict[str, Any]) -> Answer:
    os._exit(3)


async def linger(arguments: dict[str, Any]) -> Answer:
    """Die and leave a child behind that holds the pipes open."""
    os.set_inheritable(OUT, True)
    code = "import signal; signal.pause()"
    child = subprocess.Popen([sys.executable, "-c", code], close_fds=False)
    Path(arguments["note"]).write_text(str(child.pid))
    os._exit(3)


async def flood(_: dict[str, Any]) -> Answer:
    write(b"x" * 3_000_000)
    return answer()


async def babble(_: dict[str, Any]) -> Answer:
    write(b"Traceback (most recent call last):\n")
    await anyio.sleep_forever()
    return answer()


async def chatter(_: dict[str, Any]) -> Answer:
    write(b'{"jsonrpc": "2.0", "method": "notifications/x"}\n' * 60_000)
    return answer()


async def lie(_: dict[str, Any]) -> Answer:
    return answer({"n": "not a number"})


async def mute(_: dict[str, Any]) -> Answer:
    return answer(text="nothing")


async def text_json(_: dict[str, Any]) -> Answer:
    return answer(text='{"a": 1}')


async def refuse(_: dict[str, Any]) -> Answer:
    given = {"code": "gene_not_found", "message": "No gene X.", "hint": "Use HBB."}
    return answer(given, "No gene X.", is_error=True)


async def overstep(_: dict[str, Any]) -> Answer:
    return answer({"code": "insufficient_credits", "message": "Pay."}, "Pay.", is_error=True)


async def fail(_: dict[str, Any]) -> Answer:
    raise ValueError("boom")


TOOLS: dict[Any, tuple[dict[str, Any], dict[str, Any] | None]] = {
    echo: (TEXT | {"additionalProperties": False}, TEXT),
    files: (FILES, None),
    lie: ({"type": "object"}, NUMBER),
    mute: ({"type": "object"}, NUMBER),
}
PLAIN = (environment, pid, wait, hang, die, linger, flood, babble, chatter, text_json, refuse)
TOOLS |= {tool: ({"type": "object"}, None) for tool in (*PLAIN, overstep, fail)}
BY_NAME = {tool.__name__: tool for tool in TOOLS}


async def on_list(_: ServerRequestContext[Any], params: Any) -> types.ListToolsResult:
    """Two tools a page, so that the listing has many pages."""
    start = int(params.cursor) if params is not None and params.cursor else 0
    tools = [
        types.Tool(name=tool.__name__, input_schema=schema, output_schema=output)
        for tool, (schema, output) in list(TOOLS.items())[start : start + 2]
    ]
    following = str(start + 2) if start + 2 < len(TOOLS) else None
    return types.ListToolsResult(tools=tools, next_cursor=following)


async def on_call(_: ServerRequestContext[Any], params: types.CallToolRequestParams) -> Answer:
    return await BY_NAME[params.name](params.arguments or {})


async def main() -> None:
    sys.stdout.write(os.environ.get("GREETING", ""))
    sys.stdout.flush()
    sys.stderr.write("odd is up\n")
    server: Server[Any] = Server("odd", on_list_tools=on_list, on_call_tool=on_call)
    async with stdio_server() as (reader, writer):
        await server.run(reader, writer, server.create_initialization_options())


if __name__ == "__main__":
    anyio.run(main)
