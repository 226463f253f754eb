"""A registered server whose tool takes a secret argument, from its registration to its calls."""

from collections.abc import AsyncIterator

import pytest

from tests.books import assert_balanced
from tests.registry.servers.documents import simple
from tests.surfaces.registry.conftest import Door, Place
from tests.surfaces.secrets_sent.keyed import Keyed
from tests.surfaces.secrets_sent.upstream import CANARY
from tests.surfaces.test_mcp import Era, call, connected, era, refused

__all__ = ["era"]
pytestmark = pytest.mark.anyio
PRICE = 10_000


@pytest.fixture
async def lab() -> AsyncIterator[Keyed]:
    server = Keyed()
    async with server.serving():
        yield server


@pytest.fixture
async def other() -> AsyncIterator[Keyed]:
    server = Keyed()
    async with server.serving():
        yield server


async def registered(door: Door, world: Place, server: Keyed, slug: str) -> None:
    """Alice's server, approved: its tool `echo` wants the caller's KEY."""
    path = f"/v1/registry/servers/{slug}"
    body = {
        "slug": slug,
        "server": simple(server.url, name=f"io.github.test/{slug}"),
        "offer": {"price_micro": PRICE},
        "secret_arguments": {"echo": {"api_key": {"name": "KEY"}}},
    }
    await door.post(world.alice, "/v1/registry/servers", body, 201)
    await door.post(world.alice, f"{path}/submit", {})
    await door.post(world.operator, f"{path}/approve")
    await world.up(slug)


async def test_it_reaches_that_argument_of_that_server_alone(
    door: Door, world: Place, url: str, lab: Keyed, other: Keyed, era: Era
) -> None:
    await registered(door, world, lab, "lab")
    await registered(door, world, other, "other")
    secret = {"value": CANARY, "servers": ["lab"]}
    said = [await door.put(world.bob, "/v1/secrets/KEY", secret)]
    async with connected(url, world.bob, era) as bob:
        listed = {tool.name: tool.input_schema for tool in (await bob.list_tools()).tools}
        assert listed["lab.echo"]["properties"] == {"q": {"type": "number"}}
        said.append(await call(bob, "lab.echo", q=1))
        assert (await refused(bob, "lab.echo", api_key="mine"))["code"] == "unknown_field"
        await call(bob, "lab.open")
        # His secret is for the first server, whatever another one declares.
        assert (await refused(bob, "other.echo", q=1))["code"] == "secret_missing"
        await call(bob, "other.open")
    async with connected(url, world.alice, era) as alice:
        assert (await refused(alice, "lab.echo", q=1))["code"] == "secret_missing"
    assert lab.calls == [("echo", {"q": 1, "api_key": CANARY}), ("open", {})]
    lab.assert_sent_as_declared()
    assert other.calls == [("open", {})]
    assert CANARY not in str(other.headers)
    wallet = await door.get(world.bob, "/v1/wallet")
    said += [wallet, await door.get(world.alice, "/v1/registry/servers/lab")]
    assert CANARY not in str(said)
    assert wallet["captured_micro"] == 3 * PRICE
    await assert_balanced(world.services.database)
