"""`registry.*` over MCP in both eras, and `uaol servers`."""

import asyncio
import json
from typing import Any

import pytest
from click.testing import CliRunner

from app.cli import exit_code, main
from app.kernel.errors import AppError
from tests.registry.servers.documents import simple
from tests.surfaces.registry.conftest import Place, register
from tests.surfaces.registry.upstream import Upstream
from tests.surfaces.test_mcp import Era, call, connected, era, refused
from tests.surfaces.world import Person

__all__ = ["era"]
pytestmark = pytest.mark.anyio


async def test_a_server_over_mcp(url: str, world: Place, upstream: Upstream, era: Era) -> None:
    document = simple(upstream.url, name="io.github.test/lab")
    async with connected(url, world.alice, era) as alice:
        made = await call(
            alice,
            "registry.register_server",
            slug="lab",
            server=document,
            offer={"price_micro": 20_000},
        )
        assert made["status"] == "Draft"
        bad = await refused(alice, "registry.register_server", slug="x", server={})
        assert (bad["code"], bad["details"]["pointer"]) == ("invalid_input", "/server/name")
        submitted = await call(alice, "registry.submit", slug="lab")
        assert submitted["status"] == "Pending"
        compared = await call(alice, "registry.diff", slug="lab")
        assert [tool["kind"] for tool in compared["tools"]] == ["added", "added"]
        error = await refused(alice, "registry.approve", name="lab")
        assert error["code"] == "forbidden"
        listed = [tool.name for tool in (await alice.list_tools()).tools]
        assert "registry.approve" not in listed
    async with connected(url, world.operator, era) as operator:
        waiting = await call(operator, "registry.list_servers", everyones=True, status="Pending")
        assert [one["slug"] for one in waiting["servers"]] == ["lab"]
        assert (await call(operator, "registry.approve", name="lab"))["server"]["approved"]
    async with connected(url, world.bob, era) as bob:
        tools = {tool.name: tool for tool in (await bob.list_tools()).tools}
        assert tools["lab.echo"].title == "Echo"
        assert (await call(bob, "lab.echo", word="hi")) == {"said": "hi"}
        assert (await refused(bob, "registry.show_server", slug="lab"))["code"] == "not_found"
    async with connected(url, world.alice, era) as alice:
        await call(alice, "registry.set_offer", slug="lab", price_micro=5)
        await call(alice, "registry.deprecate", name="lab", message="It closes.")
        shown = await call(alice, "registry.show_server", slug="lab")
        assert (shown["offer"]["price_micro"], shown["deprecated"]["message"]) == (5, "It closes.")
    async with connected(url, world.operator, era) as operator:
        off = await call(operator, "registry.disable", name="lab", reason="Closed.")
        assert off["server"]["status"] == "Disabled"


class Shell:
    """Runs `uaol` in a thread of this process, with a server and a key."""

    def __init__(self, url: str, who: Person) -> None:
        self._env = {"UAOL_URL": url, "UAOL_API_KEY": who.key}

    async def run(self, *arguments: str, code: int = 0) -> str:
        result = await asyncio.to_thread(CliRunner().invoke, main, arguments, env=self._env)
        error = result.exception
        assert (exit_code(error) if isinstance(error, AppError) else result.exit_code) == code
        return f"{error.code}" if isinstance(error, AppError) else result.stdout


async def test_the_command_line(url: str, world: Place, upstream: Upstream, door: Any) -> None:
    operator, mine = Shell(url, world.operator), Shell(url, world.alice)
    await register(door, world.alice, upstream.url)
    await door.post(world.alice, "/v1/registry/servers/lab/submit", {})
    assert "Pending" in await operator.run("servers", "list")
    assert await mine.run("servers", "approve", "lab", code=4) == "forbidden"
    assert "+ echo" in await operator.run("servers", "diff", "lab")
    assert "approved" in await operator.run("servers", "approve", "lab")
    (listed,) = json.loads(await mine.run("servers", "list", "--mine", "--json"))
    assert (listed["slug"], listed["status"]) == ("lab", "Approved")
    await operator.run("servers", "disable", "lab", code=2)
    assert "disabled" in await operator.run("servers", "disable", "lab", "--reason", "Closed.")
    assert await operator.run("servers", "disable", "nothing", "--reason", "x", code=4) == (
        "not_found"
    )
