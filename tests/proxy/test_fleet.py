"""Backends of registered servers come and go while the proxy runs."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from app.kernel.errors import AppError, Code
from app.registry import ServerConfig
from tests.proxy.harness import World, python_server, running, until
from tests.proxy.servers.remote import Remote

pytestmark = pytest.mark.anyio


@pytest.fixture
async def remote() -> AsyncIterator[Remote]:
    server = Remote(json_response=True)
    async with server.serving():
        yield server


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with running(python_server("odd.py"), servers_allow_private=True) as world:
        yield world


def guarded(remote: Remote, name: str = "lab") -> ServerConfig:
    return ServerConfig(name=name, url=remote.url, is_guarded=True)


def up(world: World) -> list[str]:
    return [one.name for one in world.proxy.health() if one.is_up]


def backend(world: World, name: str) -> object:
    upstream = world.proxy.upstream(name)
    assert upstream is not None
    return upstream.backend


async def test_they_start_and_stop(world: World, remote: Remote) -> None:
    world.proxy.sync([guarded(remote)])
    await until(lambda: up(world) == ["lab", "odd"])
    assert (await world.call("lab.echo", word="hi")).structured == {"word": "hi"}
    world.proxy.sync([])
    assert up(world) == ["odd"]
    assert (await world.refused("lab.echo")).code is Code.TOOL_SERVER_DOWN


async def test_only_another_address_takes_another_connection(world: World, remote: Remote) -> None:
    world.proxy.sync([guarded(remote)])
    await until(lambda: "lab" in up(world))
    before = backend(world, "lab")
    world.proxy.sync([replace(guarded(remote), timeout_s=1.0)])
    assert backend(world, "lab") is before
    world.proxy.sync([replace(guarded(remote), headers={"X-New": "1"})])
    assert backend(world, "lab") is not before


async def test_a_configured_server_is_never_replaced(world: World, remote: Remote) -> None:
    before = backend(world, "odd")
    world.proxy.sync([guarded(remote, "odd")])
    world.proxy.sync([])
    assert backend(world, "odd") is before


async def test_a_strangers_address_is_guarded_and_an_operators_is_not(remote: Remote) -> None:
    async with running() as world:
        with pytest.raises(AppError) as caught:
            await world.proxy.inspect(guarded(remote))
        assert caught.value.code is Code.TOOL_SERVER_DOWN
        assert remote.requests == []
        found = await world.proxy.inspect(replace(guarded(remote), is_guarded=False))
        assert [tool.name for tool in found] == ["big", "echo", "file", "wait"]


async def test_a_look_tells_nobody_and_leaves_nothing(world: World, remote: Remote) -> None:
    found = await world.proxy.inspect(guarded(remote))
    assert len(found) == 4
    assert [one.name for one in world.proxy.health()] == ["odd"]
    assert (await world.refused("lab.echo")).code is Code.TOOL_UNKNOWN


async def test_one_that_goes_away_is_seen_and_comes_back(world: World, remote: Remote) -> None:
    world.proxy.sync([guarded(remote)])
    await until(lambda: "lab" in up(world))
    remote.answer = (503, [], b"")
    world.proxy.recheck()
    await until(lambda: "lab" not in up(world))
    await until(lambda: "HTTP 503" in (world.health("lab").error or ""))
    remote.answer = None
    await until(lambda: "lab" in up(world))
