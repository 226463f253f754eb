"""A canary that a server is sent and tells everybody: it comes out at no door and in no log."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import orjson
import pytest
from mcp.shared.exceptions import MCPError

from app.kernel.settings import Settings
from app.registry import Prices, SecretHeader, ServerConfig
from tests.surfaces.secrets_sent.house import House, opened
from tests.surfaces.secrets_sent.upstream import CANARY, Leaky
from tests.surfaces.test_http_errors import assert_problem
from tests.surfaces.world import World

pytestmark = pytest.mark.anyio

PRICE = 1000
NEEDS = (SecretHeader("Authorization", "Bearer {TOKEN}"),)


@dataclass
class Platform:
    """A house with one server that leaks."""

    house: House
    leaky: Leaky

    async def set(self, value: str = CANARY) -> None:
        await self.house.set("TOKEN", value)

    async def assert_silent(self, *said: object) -> None:
        """Nothing tells the canary, which did reach the server."""
        assert set(self.leaky.tokens) == {f"Bearer {CANARY}"}
        await self.house.assert_silent(*said)


@pytest.fixture
async def platform(world: World, settings: Settings) -> AsyncIterator[Platform]:
    leaky = Leaky()
    async with leaky.serving():
        server = ServerConfig(
            name="leaky", url=leaky.url, prices=Prices(PRICE), is_trusted=True, secrets=NEEDS
        )
        async with opened(world, settings, server) as house:
            yield Platform(house, leaky)


async def test_over_http(platform: Platform) -> None:
    await platform.set()
    said = []
    for name in ("echo", "refuse", "break"):
        answer = await platform.house.call(name)
        said.append(answer.text + str(answer.headers))
    assert "***" in said[0]
    assert await platform.house.spent() == (PRICE, 0)
    await platform.assert_silent(*said)


@pytest.mark.parametrize("path", ["/mcp", "/mcp/servers/leaky"])
@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_over_mcp(platform: Platform, path: str, era: str) -> None:
    await platform.set()
    said: list[object] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        said.append(message)

    async with platform.house.client(path, era) as client:
        prefix = "leaky." if path == "/mcp" else ""
        said += [await client.call_tool(prefix + name, {}) for name in ("echo", "refuse")]
        said.append(await client.call_tool(prefix + "progress", {}, progress_callback=progress))
        try:
            said.append(await client.call_tool(prefix + "break", {}))
        except MCPError as error:
            said.append(f"{error.error}")
    assert "***" in str(said[0])
    await platform.assert_silent(*said)


async def test_the_fast_way(platform: Platform) -> None:
    await platform.set()
    said = []
    for name in ("echo", "refuse", "break"):
        answer = await platform.house.fast(name)
        orjson.loads(answer.content)
        said.append(answer.text)
    assert "***" in said[0]
    await platform.assert_silent(*said)


async def test_what_is_listed_with_a_developers_secret_does_not_show_it(
    platform: Platform,
) -> None:
    await platform.set()
    server = ServerConfig(
        name="leaky",
        url=platform.leaky.url,
        secrets=NEEDS,
        developer_id=platform.house.world.alice.user_id,
    )
    listed = await platform.house.services.proxy.inspect(server)
    assert {one.description for one in listed} == {"Was sent Bearer ***."}
    assert CANARY not in str(listed)


async def test_nothing_of_the_callers_own_request_leaves(platform: Platform) -> None:
    await platform.set()
    key = platform.house.world.alice.key
    headers = {"cookie": "session=abc", "x-secret": "mine", "proxy-authorization": "Basic abc"}
    await platform.house.call(headers=headers)
    assert platform.leaky.tokens
    seen = str(platform.leaky.headers)
    for mine in (key, "session=abc", "mine", "Basic abc"):
        assert mine not in seen


async def test_what_is_missing_costs_nothing_and_sends_nothing(platform: Platform) -> None:
    before = len(platform.leaky.headers)
    answer = await platform.house.call()
    problem = assert_problem(answer, 409, "secret_missing")
    assert problem["details"]["secret"] == "TOKEN"
    assert len(platform.leaky.headers) == before
    for era in ("auto", "legacy"):
        async with platform.house.client("/mcp", era) as client:
            result = await client.call_tool("leaky.echo", {})
            assert result.is_error
            assert "secret_missing" in str(result.content)
    assert platform.leaky.tokens == []
    await platform.house.assert_nothing_spent()


async def test_a_wrong_secret_is_refused_and_not_shown(platform: Platform) -> None:
    await platform.set("wrong-canary-value")
    answer = await platform.house.call()
    assert_problem(answer, 409, "secret_refused")
    assert "wrong-canary" not in answer.text + platform.house.log.getvalue()
    assert await platform.house.spent() == (0, 0)
    for _ in range(8):
        answer = await platform.house.call()
        assert_problem(answer, 409, "secret_refused")
    await platform.set()
    # One user's wrong secret keeps nobody from the server.
    answer = await platform.house.call()
    assert answer.status_code == 200


async def test_another_users_calls_do_not_carry_it(platform: Platform) -> None:
    await platform.set()
    await platform.house.call()
    answer = await platform.house.call(headers=dict(platform.house.world.bob.headers))
    assert_problem(answer, 409, "secret_missing")
    assert len(platform.leaky.tokens) == 1
