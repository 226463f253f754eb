"""A tool server whose tools tell how far they are, and notice when nobody waits any more."""

from pathlib import Path
from typing import Any

import anyio
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

SCHEMA = {"type": "object", "properties": {"folder": {"type": "string"}}}
TOLD = (1.0, 3.0, 2.0, 4.0)


async def list_tools(
    _ctx: ServerRequestContext[Any, Any], _params: types.PaginatedRequestParams | None
) -> types.ListToolsResult:
    tools = [types.Tool(name=name, input_schema=SCHEMA) for name in ("count", "hang")]
    return types.ListToolsResult(tools=tools)


async def call_tool(
    ctx: ServerRequestContext[Any, Any], params: types.CallToolRequestParams
) -> types.CallToolResult:
    if params.name == "hang":
        await _hang(Path((params.arguments or {})["folder"]))
    for done in TOLD:
        await ctx.session.report_progress(done, 4.0, f"at {done:g}")
    return types.CallToolResult(content=[], structured_content={"said": "done"})


async def _hang(folder: Path) -> None:
    (folder / "started").touch()
    try:
        await anyio.sleep_forever()
    except anyio.get_cancelled_exc_class():
        (folder / "cancelled").touch()
        raise


async def main() -> None:
    server: Server[Any] = Server("patient", on_list_tools=list_tools, on_call_tool=call_tool)
    async with stdio_server() as (read, write):
        await server.run(read, write, server.create_initialization_options())


if __name__ == "__main__":
    anyio.run(main)
