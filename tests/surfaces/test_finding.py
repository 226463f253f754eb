"""Finding tools through both doors."""

import httpx2
import pytest

from app.kernel.principal import SERVICE, Scope
from app.kernel.ratelimit import limited
from tests.surfaces.test_mcp import connected
from tests.surfaces.world import World, person

pytestmark = pytest.mark.anyio


async def test_an_mcp_client_finds_its_tool(url: str, world: World) -> None:
    async with connected(url, world.alice) as client:
        wanted = {"query": "how many credits do I have left", "limit": 3}
        found = (await client.call_tool("registry.find_tools", wanted)).structured_content["tools"]
        assert found[0]["name"] == "billing.get_wallet"
        assert len(found) == 3
        for one in found:
            assert (one["price_micro"], bool(one["description"])) == (0, True)
        refused = await client.call_tool("registry.find_tools", {"query": ""})
        assert refused.structured_content["code"] == "invalid_input"


async def test_registered_tools_are_found_over_http_too(
    url: str, world: World, http: httpx2.AsyncClient
) -> None:
    names = [tool.full_name for tool in world.services.registry.snapshot().approved()]
    assert names
    for name in names:
        answer = await http.get(
            f"{url}/v1/tools/search", params={"q": name}, headers=world.alice.headers
        )
        assert answer.json()["tools"][0]["name"] == name


async def test_what_is_switched_off_is_not_found(
    url: str, world: World, http: httpx2.AsyncClient
) -> None:
    name = world.services.registry.snapshot().approved()[0].full_name
    async with world.database.begin(SERVICE) as uow:
        await world.services.registry.disable(uow, name)
        await world.services.registry.refresh(uow)
    answer = await http.get(
        f"{url}/v1/tools/search", params={"q": name, "limit": 50}, headers=world.alice.headers
    )
    assert name not in [tool["name"] for tool in answer.json()["tools"]]


async def test_finding_needs_the_scope(url: str, world: World, http: httpx2.AsyncClient) -> None:
    narrow = await person(world.services, "narrow@example.org", frozenset({Scope.BILLING}))
    answer = await http.get(f"{url}/v1/tools/search", params={"q": "x"}, headers=narrow.headers)
    assert answer.status_code == 403


async def test_finding_counts_among_a_users_calls(
    url: str, world: World, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, int]] = []

    async def take(key: str, per_minute: int, burst: int | None = None) -> None:
        seen.append((key, per_minute))
        raise limited(per_minute, 1.0)

    monkeypatch.setattr(world.services.proxy.limiter, "take", take)
    answer = await http.get(
        f"{url}/v1/tools/search", params={"q": "x"}, headers=world.alice.headers
    )
    assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
    assert seen == [(f"calls:{world.alice.user_id}", world.services.settings.calls_per_minute)]
