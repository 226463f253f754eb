"""A canary that fills an argument: it reaches that argument alone, and comes out at no door."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import orjson
import pytest
from mcp.shared.exceptions import MCPError

from app.kernel.settings import Settings
from app.registry import Prices, SecretArgument, ServerConfig
from tests.books import assert_balanced
from tests.surfaces.secrets_sent.house import House, opened
from tests.surfaces.secrets_sent.keyed import Keyed
from tests.surfaces.secrets_sent.upstream import CANARY, NAMES
from tests.surfaces.test_http_errors import assert_problem
from tests.surfaces.world import World

pytestmark = pytest.mark.anyio

PRICE = 1000
NEEDS = tuple(SecretArgument(name, "api_key", "KEY") for name in NAMES)


@dataclass
class Platform:
    """A house with one server whose tools want a key."""

    house: House
    keyed: Keyed

    async def set(self) -> None:
        await self.house.set("KEY")

    async def assert_silent(self, *said: object) -> None:
        """Nothing tells the canary, which did reach the server."""
        self.keyed.assert_sent_as_declared()
        await self.house.assert_silent(*said)


@pytest.fixture
async def platform(world: World, settings: Settings) -> AsyncIterator[Platform]:
    keyed = Keyed()
    async with keyed.serving():
        server = ServerConfig(
            name="keyed",
            url=keyed.url,
            prices=Prices(PRICE),
            is_trusted=True,
            secret_arguments=NEEDS,
        )
        async with opened(world, settings, server) as house:
            yield Platform(house, keyed)


async def test_over_http(platform: Platform) -> None:
    await platform.set()
    said = []
    for name in ("echo", "refuse", "break"):
        answer = await platform.house.call(name, {"q": 1.5})
        said.append(answer.text + str(answer.headers))
    assert "***" in said[0]
    assert platform.keyed.calls[0] == ("echo", {"q": 1.5, "api_key": CANARY})
    assert await platform.house.spent() == (PRICE, 0)
    await platform.assert_silent(*said)


@pytest.mark.parametrize("path", ["/mcp", "/mcp/servers/keyed"])
@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_over_mcp(platform: Platform, path: str, era: str) -> None:
    await platform.set()
    said: list[object] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        said.append(message)

    prefix = "keyed." if path == "/mcp" else ""
    async with platform.house.client(path, era) as client:
        listed = (await client.list_tools()).tools
        schemas = {each.name: each.input_schema for each in listed}
        assert schemas[f"{prefix}echo"]["properties"] == {"q": {"type": "number"}}
        assert schemas[f"{prefix}echo"]["required"] == []
        assert "api_key" not in str(schemas)
        said += [await client.call_tool(prefix + name, {"q": 2}) for name in ("echo", "refuse")]
        said.append(await client.call_tool(prefix + "progress", {}, progress_callback=progress))
        try:
            said.append(await client.call_tool(prefix + "break", {}))
        except MCPError as error:
            said.append(f"{error.error}")
        await client.call_tool(f"{prefix}open", {})
    assert "***" in str(said[0])
    assert {name for name, _ in platform.keyed.calls} == {*NAMES, "open"}
    await platform.assert_silent(*said)


async def test_the_fast_way(platform: Platform) -> None:
    await platform.set()
    said = []
    for name in ("echo", "refuse", "break"):
        answer = await platform.house.fast(name, {"q": 3})
        orjson.loads(answer.content)
        said.append(answer.text)
    assert "***" in said[0]
    assert platform.keyed.calls[0] == ("echo", {"q": 3, "api_key": CANARY})
    await platform.assert_silent(*said)


@pytest.mark.parametrize("path", ["/mcp", "/mcp/servers/keyed"])
@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_callers_own_value_is_refused(platform: Platform, path: str, era: str) -> None:
    await platform.set()
    answer = await platform.house.call("echo", {"api_key": "mine"})
    problem = assert_problem(answer, 422, "unknown_field")
    assert problem["details"]["pointer"] == "/api_key"
    assert b"unknown_field" in (await platform.house.fast("echo", {"api_key": "mine"})).content
    async with platform.house.client(path, era) as client:
        name = "keyed.echo" if path == "/mcp" else "echo"
        result = await client.call_tool(name, {"api_key": "mine"})
        assert result.is_error
        assert "unknown_field" in str(result.content)
    job = {"tool": "keyed.echo", "arguments": {"api_key": "mine"}}
    answer = await platform.house.http.post("/v1/jobs", json=job)
    assert answer.status_code == 422, answer.text
    assert platform.keyed.calls == []
    assert await platform.house.spent() == (0, 0)


async def test_an_answer_is_not_kept_though_its_tool_says_so(platform: Platform) -> None:
    await platform.set()
    for _ in range(2):
        assert (await platform.house.call("echo", {})).status_code == 200
        assert (await platform.house.fast("echo", {})).status_code == 200
    assert len(platform.keyed.calls) == 4


async def test_a_missing_secret_refuses_its_tools_only_and_costs_nothing(
    platform: Platform,
) -> None:
    answer = await platform.house.call("echo", {})
    details = assert_problem(answer, 409, "secret_missing")["details"]
    assert (details["secret"], details["tool"], details["argument"]) == ("KEY", "echo", "api_key")
    assert b"secret_missing" in (await platform.house.fast("echo", {})).content
    for path in ("/mcp", "/mcp/servers/keyed"):
        for era in ("auto", "legacy"):
            async with platform.house.client(path, era) as client:
                name = "keyed.echo" if path == "/mcp" else "echo"
                result = await client.call_tool(name, {})
                assert result.is_error
                assert "secret_missing" in str(result.content)
    assert platform.keyed.calls == []
    await platform.house.assert_nothing_spent()
    assert (await platform.house.call("open", {})).status_code == 200
    await platform.set()
    assert (await platform.house.call("echo", {})).status_code == 200
    await assert_balanced(platform.house.world.database)


async def test_another_users_calls_do_not_carry_it(platform: Platform) -> None:
    await platform.set()
    await platform.house.call("echo", {})
    answer = await platform.house.call("echo", {}, headers=dict(platform.house.world.bob.headers))
    assert_problem(answer, 409, "secret_missing")
    assert len(platform.keyed.calls) == 1
