"""One server passed through to the SDK's own client, in both eras, under the server's own names."""

import asyncio
from typing import Any

import mcp_types as types
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

from tests.books import assert_balanced
from tests.surfaces.mcp_passthrough.conftest import PRICE, Era, Open, config
from tests.surfaces.mcp_passthrough.upstream import Everything

pytestmark = pytest.mark.anyio
APPROVED = ["echo", "steps", "ask", "refuse", "break", "wait", "city"]
# The client's era, and those that the server has: the same, or one that is translated.
WAYS = [
    ("auto", "both"),
    ("legacy", "both"),
    ("auto", "legacy"),
    ("legacy", "modern"),
    ("legacy", "legacy"),
]


@pytest.fixture(params=WAYS, ids="-".join)
def way(request: pytest.FixtureRequest) -> tuple[Era, str]:
    chosen: tuple[Era, str] = request.param
    return chosen


async def test_the_server_is_seen_as_itself(opened: Open, way: tuple[Era, str]) -> None:
    era, eras = way
    server = Everything(eras=eras)
    async with (
        server.serving(),
        opened(config(server)) as door,
        door.client("all", era) as client,
    ):
        info = client.server_info
        assert info is not None
        assert (info.name, info.version, client.instructions) == ("everything", "7", "Ask me.")
        listed = (await client.list_tools()).tools
        assert [tool.name for tool in listed] == APPROVED
        assert listed[0].description == "Says it again."
        assert await names_of(client) == (["one"], ["greet"])
        read = await client.read_resource("test://one")
        assert read.contents[0].text == "the first"  # type: ignore[union-attr]
        prompt = await client.get_prompt("greet")
        assert prompt.messages[0].content.text == "Greet greet."  # type: ignore[union-attr]
        ref = types.PromptReference(type="ref/prompt", name="greet")
        found = await client.complete(ref, {"name": "name", "value": "go"})
        assert found.completion.values == ["going"]


async def names_of(client: Client) -> tuple[list[str], list[str]]:
    resources = (await client.list_resources()).resources
    prompts = (await client.list_prompts()).prompts
    return [one.name for one in resources], [one.name for one in prompts]


async def test_calls_are_charged_when_they_are_answered(opened: Open, way: tuple[Era, str]) -> None:
    era, eras = way
    server = Everything(eras=eras)
    async with server.serving(), opened(config(server)) as door:
        async with door.client("all", era) as client:
            result = await client.call_tool("echo", {"n": 1})
            assert (result.structured_content, result.is_error) == ({"n": 1}, False)
            assert (result.meta or {}).get("uaol.test/kept") == {"n": 1}
            assert await door.spent() == (PRICE, 0)
            refused = await client.call_tool("refuse", {})
            assert refused.is_error
            with pytest.raises(MCPError, match="broken") as caught:
                await client.call_tool("break", {})
            assert (caught.value.code, caught.value.error.data) == (-32005, {"x": 1})
            assert await door.spent() == (PRICE, 0)
        await assert_balanced(door.world.database)


async def test_what_may_not_be_called_is_refused_before_it_is_sent(
    opened: Open, way: tuple[Era, str]
) -> None:
    era, eras = way
    server = Everything(eras=eras)
    async with (
        server.serving(),
        opened(config(server)) as door,
        door.client("all", era) as client,
    ):
        wrong = await client.call_tool("echo", {"n": "one"})
        assert wrong.is_error
        assert (wrong.structured_content or {})["code"] == "invalid_input"
        hidden = await client.call_tool("hidden", {})
        assert (hidden.structured_content or {})["code"] == "tool_disabled"
        with pytest.raises(MCPError, match="no tool named"):
            await client.call_tool("absent", {})
        assert server.calls == []
        assert await door.spent() == (0, 0)


async def test_progress_comes_through(opened: Open, way: tuple[Era, str]) -> None:
    era, eras = way
    seen: list[tuple[float, float | None, str | None]] = []

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        seen.append((progress, total, message))

    server = Everything(eras=eras)
    async with (
        server.serving(),
        opened(config(server)) as door,
        door.client("all", era) as client,
    ):
        await client.call_tool("steps", {"n": 1}, progress_callback=on_progress)
    assert seen == [(n, 3, f"step {n}") for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("era", "eras"), [("auto", "both"), ("legacy", "both"), ("legacy", "modern")]
)
async def test_a_question_back_is_asked_and_the_call_charged_once(
    opened: Open, era: Era, eras: str
) -> None:
    async def answer(_context: Any, params: Any) -> types.ElicitResult:
        assert params.message == "Who?"
        return types.ElicitResult(action="accept", content={"name": "Ada"})

    server = Everything(eras=eras)
    async with (
        server.serving(),
        opened(config(server)) as door,
        door.client("all", era, elicitation_callback=answer) as client,
    ):
        result = await client.call_tool("ask", {})
        assert result.content[0].text == "Hello Ada"  # type: ignore[union-attr]
        assert await door.spent() == (PRICE, 0)


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_question_back_is_asked_at_the_common_door_too(opened: Open, era: Era) -> None:
    async def answer(_context: Any, _params: Any) -> types.ElicitResult:
        return types.ElicitResult(action="accept", content={"name": "Ada"})

    server = Everything(eras="modern")
    async with server.serving(), opened(config(server)) as door:
        async with door.client(None, era, elicitation_callback=answer) as client:
            result = await client.call_tool("all.ask", {})
            assert result.content[0].text == "Hello Ada"  # type: ignore[union-attr]
            assert (result.meta or {})["uaol/charged_micro"] == PRICE
            refused = await client.call_tool("all.refuse", {})
            assert refused.is_error
            assert not (await client.call_tool("all.city", {"city": "Köln"})).is_error
            assert server.cities == ["=?base64?S8O2bG4=?="]
        async with door.client(None, era) as client:
            deaf = await client.call_tool("all.ask", {})
            assert deaf.is_error
        await door.settled(2 * PRICE)


async def test_a_caller_who_leaves_ends_the_call_at_the_server(opened: Open) -> None:
    server = Everything()
    async with server.serving(), opened(config(server)) as door:
        async with door.client("all") as client:
            task = asyncio.create_task(client.call_tool("wait", {}))
            await server.waiting.wait()
            assert (await door.spent())[1] == PRICE
            task.cancel()
            await asyncio.wait({task})
            await server.cancelled.wait()
        await door.settled(0)
