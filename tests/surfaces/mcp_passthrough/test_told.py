"""Changes of a server's tools are told to clients that are translated for, in either era."""

import asyncio
from pathlib import Path
from uuid import uuid4

import mcp_types as types
import pytest
from mcp import Client

from app.kernel.principal import Principal, Scope
from app.registry import Snapshot, Tool, ToolDefinition
from app.surfaces.mcp.live.toolnews import Difference
from tests.proxy.harness import python_server
from tests.surfaces.mcp_passthrough.conftest import Open

pytestmark = pytest.mark.anyio
SERVERS = pytest.mark.parametrize("name", ["legacy", "changing"])


async def announce(client: Client, text: Path) -> None:
    """Have the server describe its tool anew, and say so as its era does."""
    text.write_text("Runs faster.")
    assert not (await client.call_tool("run", {"announce": True})).is_error


async def described(client: Client) -> list[str | None]:
    return [tool.description for tool in (await client.list_tools()).tools]


@SERVERS
async def test_a_client_that_listens_is_told(opened: Open, tmp_path: Path, name: str) -> None:
    (text := tmp_path / "description").write_text("Runs.")
    server = python_server(f"{name}.py", env={"DESCRIPTION": str(text)}, is_trusted=True)
    async with opened(server) as door, door.client(name, "auto") as client:
        tools = client.server_capabilities.tools
        assert tools is not None
        assert tools.list_changed
        async with asyncio.timeout(60), client.listen(tools_list_changed=True) as events:
            assert await described(client) == ["Runs."]
            await announce(client, text)
            async for _ in events:
                break
        assert await described(client) == ["Runs faster."]


@SERVERS
async def test_a_session_is_told(opened: Open, tmp_path: Path, name: str) -> None:
    (text := tmp_path / "description").write_text("Runs.")
    server = python_server(f"{name}.py", env={"DESCRIPTION": str(text)}, is_trusted=True)
    is_told, has_stream = asyncio.Event(), asyncio.Event()

    async def heard(message: object) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            is_told.set()

    async with (
        opened(server) as door,
        door.client(name, "legacy", has_stream=has_stream, message_handler=heard) as client,
    ):
        tools = client.server_capabilities.tools
        assert tools is not None
        assert tools.list_changed
        async with asyncio.timeout(60):
            # The client opens it when it likes; what is told before is not heard.
            await has_stream.wait()
            assert await described(client) == ["Runs."]
            await announce(client, text)
            await is_told.wait()
        assert await described(client) == ["Runs faster."]


def shown(**descriptions: str) -> Snapshot:
    """A registry's snapshot with a tool of each of these servers."""
    made = [ToolDefinition(name, "run", text, {}) for name, text in descriptions.items()]
    return Snapshot(Tool(one.full_name, one.server, one, "Approved", False, 0, 1.0) for one in made)


def test_news_of_another_server_is_none() -> None:
    user = Principal("user", uuid4(), scopes=frozenset({Scope.TOOLS}))
    before, after = shown(own="x", owner="Runs."), shown(own="x", owner="Runs faster.")
    news = Difference(before, after, frozenset({"owner.run"}))
    servers = (None, "owner", "own", "other")
    assert [news.is_seen_by(user, one) for one in servers] == [True, True, False, False]
