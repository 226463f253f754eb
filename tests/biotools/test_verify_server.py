"""`python -m biotools.cloning` and `biotools.verify` answer a real MCP client over stdio."""

import sys
from pathlib import Path
from typing import Any

import mcp_types as types
import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client

pytestmark = pytest.mark.anyio
HBB = str(Path("biotools/samples/human_HBB_region_U01317.gb").resolve())
TOOLS = {
    "cloning": {
        "design_oligos", "design_primers", "design_site_primers", "annotate_record", "digest",
        "find_sites",
    },
    "verify": {"locate_guides", "recount_off_targets", "assemble", "amplify", "check_donors"},
}  # fmt: skip
CALLS: dict[str, tuple[str, dict[str, Any], str]] = {
    "cloning": ("design_oligos", {"spacers": ["GTAACGGCAGACTTCTCCTC"]}, "oligos"),
    "verify": (
        "recount_off_targets",
        {"spacers": ["GTAACGGCAGACTTCTCCTC"], "genomes": [HBB]},
        "searched",
    ),
}


async def _talk(field: str) -> tuple[list[types.Tool], types.CallToolResult, types.CallToolResult]:
    server = StdioServerParameters(command=sys.executable, args=["-m", f"biotools.{field}"])
    name, arguments, _ = CALLS[field]
    async with stdio_client(server) as (reader, writer), ClientSession(reader, writer) as session:
        await session.initialize()
        tools = (await session.list_tools()).tools
        good = await session.call_tool(name, arguments)
        bad = await session.call_tool(name, {**arguments, "spacers": ["ACGT"]})
    return tools, good, bad


@pytest.mark.parametrize("field", ["cloning", "verify"])
async def test_server_lists_calls_and_refuses(field: str) -> None:
    tools, good, bad = await _talk(field)
    assert {tool.name for tool in tools} == TOOLS[field]
    assert all(tool.output_schema for tool in tools)
    assert good.structured_content is not None
    assert good.structured_content[CALLS[field][2]]
    assert bad.is_error
    assert bad.structured_content is not None
    assert bad.structured_content["code"] == "invalid_argument"
