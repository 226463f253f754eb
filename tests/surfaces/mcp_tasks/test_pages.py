"""Lists in pages, and names without dots."""

from pathlib import Path

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from app.kernel.errors import AppError
from app.kernel.principal import SERVICE
from app.kernel.settings import Settings
from app.registry import ServerConfig, ToolDefinition
from app.surfaces.mcp.names import aliases
from app.surfaces.mcp.pages import page_of
from tests.surfaces.mcp_tasks.raw import raw
from tests.surfaces.test_mcp import WORDS, Era, call, connected, era
from tests.surfaces.world import World, definition

__all__ = ["era"]
pytestmark = pytest.mark.anyio
SIZE = 10


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", poll_seconds=0.05, mcp_page_size=SIZE)


async def names_of(client: Client) -> list[str]:
    """The names of all pages; each but the last is full."""
    found: list[str] = []
    cursor = None
    while True:
        page = await client.list_tools(cursor=cursor)
        found += [tool.name for tool in page.tools]
        if (cursor := page.next_cursor) is None:
            return found
        assert len(page.tools) == SIZE


async def test_tools_come_in_pages(url: str, world: World, era: Era) -> None:
    async with connected(url, world.alice, era) as client:
        names = await names_of(client)
        # Own tools first, each once, in the same order every time.
        assert names[0] == "bio_agent.list_templates"
        assert names[-len(WORDS) :] == WORDS
        assert len(set(names)) == len(names)
        assert await names_of(client) == names


async def test_a_page_is_where_it_was_when_tools_come_and_go(url: str, world: World) -> None:
    async with raw(url, world.alice) as client:
        pages = [await client.result("tools/list")]
        while "nextCursor" in pages[-1]:
            pages.append(await client.result("tools/list", cursor=pages[-1]["nextCursor"]))
        names = [tool["name"] for page in pages for tool in page["tools"]]
        more = ServerConfig(name="aaa", command=("x",), is_trusted=True)
        async with world.database.begin(SERVICE) as uow:
            await world.services.registry.pin(
                uow, more, [ToolDefinition("aaa", "t", "T.", {}, None)]
            )
            await world.services.registry.refresh(uow)
        last = await client.result("tools/list", cursor=pages[-2]["nextCursor"])
        # The new tool's place is before this page: nothing is shown twice, nothing is lost.
        assert [tool["name"] for tool in last["tools"]] == [
            name for name in names if name in [tool["name"] for tool in pages[-1]["tools"]]
        ]


async def test_a_cursor_is_of_its_list(url: str, world: World) -> None:
    async with raw(url, world.alice) as client:
        cursor = (await client.result("tools/list"))["nextCursor"]
        for method, wrong in (
            ("tools/list", "x"),
            ("tools/list", "é"),
            ("tools/list", ""),
            ("prompts/list", cursor),
            ("resources/list", cursor),
            ("resources/templates/list", "x"),
        ):
            error = await client.error(method, cursor=wrong)
            assert (error["code"], error["data"]["code"]) == (-32602, "invalid_input"), method


def test_pages_have_no_gaps_and_no_repeats() -> None:
    items = [(f"{number:03}", number) for number in range(25)]
    found: list[int] = []
    cursor = None
    while True:
        shown, cursor = page_of("numbers", items, cursor, 10)
        found += shown
        if cursor is None:
            break
    assert found == list(range(25))
    assert page_of("numbers", items[:10], None, 10)[1] is None
    with pytest.raises(AppError):
        page_of("others", items, page_of("numbers", items, None, 10)[1], 10)


async def test_names_without_dots(url: str, world: World) -> None:
    async with connected(url, world.alice) as client:
        wanted = [name.replace(".", "_") for name in await names_of(client)]
    async with raw(url, world.alice) as client:
        for path, headers, meta in (
            ("/mcp?names=underscore", {}, {}),
            ("/mcp", {"uaol-names": "underscore"}, {}),
            ("/mcp", {}, {"uaol/names": "underscore"}),
        ):
            found: list[str] = []
            params: dict[str, object] = {"_meta": meta}
            while True:
                page = (await client.post("tools/list", params, headers, path)).json()["result"]
                found += [tool["name"] for tool in page["tools"]]
                if "nextCursor" not in page:
                    break
                params = {"_meta": meta, "cursor": page["nextCursor"]}
            assert found == wanted
        response = await client.post("tools/list", path="/mcp?names=camel")
        assert response.json()["error"]["data"]["code"] == "invalid_input"
        # Both names always work.
        assert (await client.call("words_free", word="a"))["structuredContent"] == {"said": "a"}
        assert (await client.call("words.free", word="a"))["structuredContent"] == {"said": "a"}
        assert "available_micro" in (await client.call("billing_get_wallet"))["structuredContent"]


async def test_names_that_clash(url: str, world: World) -> None:
    clash = ServerConfig(name="billing", command=("x",), is_trusted=True)
    words = [definition("a_b"), definition("a.b")]
    own = ToolDefinition("billing", "get_wallet", "Not ours.", {"type": "object"}, None)
    async with world.database.begin(SERVICE) as uow:
        world.services.registry.snapshot()
        await world.services.registry.pin(
            uow, ServerConfig(name="words", command=("w",), is_trusted=True), words
        )
        await world.services.registry.pin(uow, clash, [own])
        await world.services.registry.refresh(uow)
    async with raw(url, world.alice) as client:
        mine = await client.call("billing_get_wallet")
        assert "available_micro" in mine["structuredContent"]


def test_aliases_are_fit_and_all_different() -> None:
    names = ["a.b_c", "a_b.c", "a.b.c", "x." + "y" * 100, "x." + "y" * 101, "plain.name"]
    found = aliases(names)
    assert found["plain.name"] == "plain_name"
    assert len(set(found.values())) == len(names)
    assert all(
        len(alias) <= 64 and alias.isascii() and "." not in alias for alias in found.values()
    )
    # A clash that goes away changes only those that were in it.
    assert aliases(names[:1])["a.b_c"] == "a_b_c"


async def test_a_client_that_is_given_such_a_url_has_no_dots(
    url: str, world: World, era: Era
) -> None:
    address = f"{url}/mcp?names=underscore"
    async with httpx2.AsyncClient(headers=dict(world.alice.headers), timeout=60) as http:
        transport = streamable_http_client(address, http_client=http)
        async with Client(transport, mode=era) as client:
            assert not [name for name in await names_of(client) if "." in name]
            assert await call(client, "words_say", word="a") == {"said": "a"}
