"""A server over stdio passed through, as if it spoke HTTP, in both eras."""

from typing import Any

import pytest
from mcp.shared.exceptions import MCPError

from app.registry import Prices
from tests.proxy.harness import python_server
from tests.surfaces.mcp_passthrough.conftest import PRICE, Era, Open

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_process_is_passed_through_each_user_to_their_own(opened: Open, era: Era) -> None:
    server = python_server(
        "counting.py", isolation="user", is_trusted=True, prices=Prices(PRICE), timeout_s=20.0
    )
    async with opened(server) as door:
        async with door.client("counting", era) as mine:
            info = mine.server_info
            assert info is not None
            assert info.name == "counting"
            assert [tool.name for tool in (await mine.list_tools()).tools] == ["count"]
            first = (await mine.call_tool("count", {})).structured_content
            again = (await mine.call_tool("count", {})).structured_content
            with pytest.raises(MCPError, match="Method not found"):
                await mine.list_prompts()
        async with door.client("counting", era, door.world.bob) as others:
            theirs = (await others.call_tool("count", {})).structured_content
        await door.settled(2 * PRICE)
    counts: list[dict[str, Any]] = [one or {} for one in (first, again, theirs)]
    assert [one["count"] for one in counts] == [1, 2, 1]
    assert counts[0]["pid"] == counts[1]["pid"] != counts[2]["pid"]
