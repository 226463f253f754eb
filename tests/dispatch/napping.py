"""A tool server whose one tool takes a while and says on which host it ran.

With a `gate` it says by a file beside that one that it is there, and waits until the gate is.
"""

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

_SCHEMA = {
    "type": "object",
    "properties": {
        "seconds": {"type": "number"},
        "n": {"type": "integer"},
        "gate": {"type": "string"},
    },
    "required": ["seconds", "n"],
}


def _address() -> str:
    """The address that packets to the head leave from."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((os.environ["HEAD"], 9))
        return str(probe.getsockname()[0])


async def on_list(_: Any, __: Any) -> types.ListToolsResult:
    tool = types.Tool(name="nap", description="Waits.", input_schema=_SCHEMA)
    return types.ListToolsResult(tools=[tool])


async def on_call(_: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
    given = params.arguments or {}
    await asyncio.sleep(given["seconds"])
    if "gate" in given:
        gate = Path(given["gate"])
        gate.with_suffix(f".{HERE}").touch()
        while not gate.exists():
            await asyncio.sleep(0.05)
    answer = {"address": HERE, "n": given["n"]}
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=HERE)], structured_content=answer
    )


async def main() -> None:
    server: Server[Any] = Server("napping", on_list_tools=on_list, on_call_tool=on_call)
    async with stdio_server() as (reader, writer):
        await server.run(reader, writer, server.create_initialization_options())


if __name__ == "__main__":
    HERE = _address()
    anyio.run(main)
