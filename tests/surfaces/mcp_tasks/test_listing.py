"""Lists of tools for 2026-07-28 are made beside the SDK: it must find nothing to change in them."""

import pytest
from mcp_types.methods import serialize_server_result

from app.kernel.principal import SERVICE
from app.registry import ToolDefinition
from tests.surfaces.mcp_tasks.raw import VERSION, raw
from tests.surfaces.test_mcp import WORDS, connected
from tests.surfaces.world import DEFINITIONS, TOOLS, World

pytestmark = pytest.mark.anyio


async def test_a_list_is_what_the_sdk_would_make_of_it(url: str, world: World) -> None:
    async with raw(url, world.alice) as client:
        first = await client.result("tools/list")
        meta = first.pop("_meta")
        assert serialize_server_result("tools/list", VERSION, first) == first
        assert (first["resultType"], first["cacheScope"]) == ("complete", "private")
        assert meta["io.modelcontextprotocol/serverInfo"]["name"] == "uaol"
        assert (await client.result("tools/list"))["tools"] == first["tools"]
        for params in ({"cursor": 5}, {"_meta": {"progressToken": []}}):
            response = await client.post("tools/list", params)
            assert (response.status_code, response.json()["error"]["code"]) == (400, -32602)


async def test_a_list_follows_the_registry(url: str, world: World) -> None:
    async def names() -> list[str]:
        return [tool["name"] for tool in (await client.result("tools/list"))["tools"]]

    async with raw(url, world.alice) as client:
        assert (await names())[-len(WORDS) :] == WORDS
        # Whatever a server lists, no list fails for it.
        odd = ToolDefinition("words", "odd", "No schema.", {"type": "string"}, None)
        more = ToolDefinition("words", "tell", "Tells.", {"type": "object"}, None)
        async with world.database.begin(SERVICE) as uow:
            await world.services.registry.pin(uow, TOOLS, [*DEFINITIONS, odd, more])
            await world.services.registry.refresh(uow)
        assert (await names())[-len(WORDS) - 1 :] == [*WORDS, "words.tell"]


async def test_both_eras_list_the_same(url: str, world: World) -> None:
    async with connected(url, world.alice) as modern:
        new = (await modern.list_tools()).tools
    async with connected(url, world.alice, "legacy") as legacy:
        old = (await legacy.list_tools()).tools
    assert [one.model_dump() for one in new] == [one.model_dump() for one in old]
