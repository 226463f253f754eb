"""A tool called directly: charged if it answers, and only then."""

import asyncio

import httpx2
import pytest

from app.kernel.principal import SERVICE
from tests.books import assert_balanced
from tests.surfaces.conftest import PlayedProxy
from tests.surfaces.test_http_errors import assert_problem
from tests.surfaces.test_mcp import connected
from tests.surfaces.world import TOOL_PRICE, World, person

pytestmark = pytest.mark.anyio
WORD = {"arguments": {"word": "hi"}}


async def spent(world: World) -> tuple[int, int]:
    async with world.database.begin(world.alice.principal) as uow:
        wallet = await world.services.billing.wallet(uow, world.alice.user_id)
    return wallet.captured_micro, wallet.held_micro


async def metered(world: World) -> int:
    async with world.database.begin(SERVICE) as uow:
        return int((await uow.execute("select count(*) from app.usage_event")).scalar_one())


async def test_an_answer_is_charged_and_metered(http: httpx2.AsyncClient, world: World) -> None:
    answer = (await http.post("/v1/tools/words.say/call", json=WORD)).json()
    assert (answer["structured"], answer["is_error"]) == ({"said": "hi"}, False)
    assert answer["charged_micro"] == TOOL_PRICE
    assert await spent(world) == (TOOL_PRICE, 0)
    assert await metered(world) == 1
    await assert_balanced(world.database)


async def test_the_alias_is_the_same_tool(http: httpx2.AsyncClient, world: World) -> None:
    assert (await http.post("/v1/tools/words_say/call", json=WORD)).status_code == 200
    assert await spent(world) == (TOOL_PRICE, 0)


async def test_a_free_tool_needs_no_credits(http: httpx2.AsyncClient, world: World) -> None:
    poor = await person(world.services, "poor@example.org", granted=0)
    headers = dict(poor.headers)
    free = await http.post("/v1/tools/words.free/call", json=WORD, headers=headers)
    assert (free.status_code, free.json()["charged_micro"]) == (200, 0)
    priced = await http.post("/v1/tools/words.say/call", json=WORD, headers=headers)
    assert_problem(priced, 402, "insufficient_credits")
    proxy = world.services.proxy
    assert isinstance(proxy, PlayedProxy)
    assert [call.name for call in proxy.calls] == ["words.free"]


async def test_the_tools_own_error_is_free(http: httpx2.AsyncClient, world: World) -> None:
    answer = (await http.post("/v1/tools/words.refuse/call", json=WORD)).json()
    assert answer["is_error"] is True
    assert answer["error"] == {
        "code": "gene_not_found",
        "message": "No such gene.",
        "hint": "Look again.",
    }
    assert answer["charged_micro"] == 0
    assert await spent(world) == (0, 0)
    assert await metered(world) == 1
    await assert_balanced(world.database)


async def test_a_broken_server_is_free(http: httpx2.AsyncClient, world: World) -> None:
    response = await http.post("/v1/tools/words.break/call", json=WORD)
    assert_problem(response, 502, "tool_server_down")
    assert await spent(world) == (0, 0)
    await assert_balanced(world.database)


async def test_a_caller_who_leaves_gets_the_credits_back(world: World, url: str) -> None:
    proxy = world.services.proxy
    assert isinstance(proxy, PlayedProxy)

    async def leave() -> None:
        async with connected(url, world.alice) as client:
            await client.call_tool("words.hang", {"word": "x"})

    leaving = asyncio.create_task(leave())
    async with asyncio.timeout(60):
        await proxy.is_hanging.wait()
        assert await spent(world) == (0, TOOL_PRICE)
        leaving.cancel()
        await asyncio.wait({leaving})
        while await spent(world) != (0, 0):
            await asyncio.sleep(0.01)
    await assert_balanced(world.database)


async def test_arguments_are_checked_first(http: httpx2.AsyncClient, world: World) -> None:
    for word in ("a\\u0000", "\\ud800"):
        body = f'{{"arguments": {{"word": "{word}"}}}}'
        response = await http.post(
            "/v1/tools/words.say/call", content=body, headers={"content-type": "application/json"}
        )
        assert_problem(response, 422, "invalid_input")
    assert await spent(world) == (0, 0)
