"""Two processes of one platform: what any of them answers, and what only one can."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed

from app.kernel.settings import Settings
from app.surfaces.listening import bind, listening
from tests.books import assert_balanced
from tests.surfaces.conftest import PlayedProxy
from tests.surfaces.mcp_doors.clients import (
    ACCEPT,
    ask,
    by_http,
    initialize,
    modern,
    raw_socket,
    request,
    tell,
)
from tests.surfaces.mcp_doors.conftest import another
from tests.surfaces.test_http_errors import assert_problem
from tests.surfaces.world import World

pytestmark = pytest.mark.anyio
STATELESS = [{"mcp_legacy_sessions": "stateless"}]


@pytest.fixture
async def second(world: World, settings: Settings) -> AsyncIterator[str]:
    async with listening(another(world, settings), settings, bind("127.0.0.1", 0)) as address:
        yield address


async def test_a_ticket_is_used_once_among_all(url: str, second: str, world: World) -> None:
    async with httpx2.AsyncClient(
        base_url=url, headers=dict(world.alice.headers), timeout=60
    ) as http:
        offered = tuple((await http.post("/v1/mcp/tickets")).json()["subprotocols"])
    async with raw_socket(second, offered=offered) as socket:
        assert "result" in await ask(socket, modern(1, "tools/list"))
    for address in (url, second):
        with pytest.raises(Exception, match="HTTP 401"):
            async with raw_socket(address, offered=offered):
                pass


async def test_sessions_are_held_by_the_process_that_opened_them(
    url: str, second: str, world: World
) -> None:
    headers = dict(world.alice.headers) | ACCEPT
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        opened = await http.post(f"{url}/mcp", json=initialize())
        session = {"mcp-session-id": opened.headers["mcp-session-id"]}
        here = await http.post(f"{url}/mcp", json=request(1, "ping"), headers=session)
        there = await http.post(f"{second}/mcp", json=request(1, "ping"), headers=session)
        assert (here.status_code, there.status_code) == (200, 404)


async def test_a_process_that_stops_says_so(world: World, settings: Settings) -> None:
    proxy = world.services.proxy
    assert isinstance(proxy, PlayedProxy)
    async with AsyncExitStack() as serving, asyncio.timeout(30):
        app = another(world, settings)
        url = await serving.enter_async_context(listening(app, settings, bind("127.0.0.1", 0)))
        async with raw_socket(url, world.alice.headers) as socket:
            call = {"name": "words.hang", "arguments": {"word": "x"}}
            await tell(socket, modern(1, "tools/call", **call))
            await proxy.is_hanging.wait()
            await serving.aclose()
            with pytest.raises(ConnectionClosed):
                await socket.recv()
            assert socket.close_code == 1012
        assert len(app.state.gateway.streams) == 0
    await assert_balanced(world.database)


@pytest.mark.parametrize("changes", STATELESS)
async def test_without_sessions_any_process_answers(
    url: str, second: str, world: World, changes: dict[str, Any]
) -> None:
    headers = dict(world.alice.headers) | ACCEPT
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        opened = await http.post(f"{url}/mcp", json=initialize())
        assert opened.status_code == 200
        assert "mcp-session-id" not in opened.headers
        said = await http.post(f"{second}/mcp", json=request(1, "tools/list"))
        assert "words.say" in said.text
        for method in ("GET", "DELETE"):
            refused = await http.request(method, f"{url}/mcp")
            assert_problem(refused, 405, "method_not_allowed")
            assert refused.headers["allow"] == "POST"
        assert_problem(await http.get(f"{url}/sse"), 404, "not_found")
    for era in ("auto", "legacy"):
        async with by_http(url, world.alice.headers, era) as client:  # type: ignore[arg-type]
            said = await client.call_tool("words.say", {"word": "hi"})
            assert said.structured_content == {"said": "hi"}
