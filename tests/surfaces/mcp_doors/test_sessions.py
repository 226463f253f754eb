"""How many sessions one user may hold: others find room, whatever one of them does."""

from typing import Any

import httpx2
import pytest

from tests.surfaces.mcp_doors.clients import initialize
from tests.surfaces.test_http_errors import assert_problem
from tests.surfaces.world import World

pytestmark = pytest.mark.anyio
ACCEPT = {"accept": "application/json, text/event-stream"}


@pytest.mark.parametrize("changes", [{"mcp_sessions_per_user": 2}])
async def test_only_so_many_of_one_user(url: str, world: World, changes: dict[str, Any]) -> None:
    mine, theirs = (ACCEPT | dict(who.headers) for who in (world.alice, world.bob))
    async with httpx2.AsyncClient(base_url=url, timeout=60) as http:
        opened = [await http.post("/mcp", json=initialize(), headers=mine) for _ in range(2)]
        assert [one.status_code for one in opened] == [200, 200]
        refused = await http.post("/mcp", json=initialize(), headers=mine)
        assert_problem(refused, 429, "rate_limited")
        assert refused.headers["retry-after"] == "60"
        assert (await http.post("/mcp", json=initialize(), headers=theirs)).status_code == 200
        ended = {"mcp-session-id": opened[0].headers["mcp-session-id"]}
        assert (await http.delete("/mcp", headers=mine | ended)).status_code == 200
        assert (await http.post("/mcp", json=initialize(), headers=mine)).status_code == 200
