"""Servers that ask for a process per user: nothing they keep goes from one user to another."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal
from app.proxy import ToolCall
from app.proxy.backends.isolated import IsolatedBackend
from app.proxy.backends.stdio import StdioConnector
from app.proxy.backends.supervised import SupervisedBackend
from app.registry.config import parse_config
from tests.proxy.harness import World, python_server, running

pytestmark = pytest.mark.anyio
ALICE, BOB, CAROL = (Principal("user", uuid4()) for _ in range(3))


async def count(world: World, who: Principal) -> dict[str, Any]:
    result = await world.proxy.call(ToolCall(who, "counting.count", {}))
    assert result.structured is not None
    return result.structured


async def test_users_share_a_process_unless_the_server_says_otherwise() -> None:
    async with running(python_server("counting.py")) as world:
        counts = [(await count(world, who))["count"] for who in (ALICE, BOB, ALICE)]
    assert counts == [1, 2, 3]


async def test_every_user_has_a_process() -> None:
    async with running(python_server("counting.py", isolation="user")) as world:
        told = [await count(world, who) for who in (ALICE, BOB, ALICE)]
    assert [one["count"] for one in told] == [1, 1, 2]
    assert told[0]["pid"] == told[2]["pid"] != told[1]["pid"]


def isolated(most: int, clock: Any) -> IsolatedBackend:
    config = python_server("counting.py")
    made = [SupervisedBackend(StdioConnector(config, output_limit=1000)) for _ in range(1)]

    def make() -> SupervisedBackend:
        return SupervisedBackend(StdioConnector(config, output_limit=1000))

    return IsolatedBackend(made[0], make, most=most, idle_s=10.0, clock=clock)


async def test_processes_are_few_and_idle_ones_are_closed() -> None:
    now = 0.0
    backend = isolated(2, lambda: now)
    await backend.start()
    try:
        for who in (ALICE, BOB, CAROL):
            answer = await backend.ask(who, "tools/call", {"name": "count"}, 20.0)
            assert answer["structuredContent"]["count"] == 1
            now += 1
        # Carol's took the place of Alice's, who was away the longest.
        assert backend.users == [str(BOB.user_id), str(CAROL.user_id)]
        now += 8.5
        backend.sweep()
        assert backend.users == [str(CAROL.user_id)]
        now += 10
        backend.sweep()
        assert backend.users == []
    finally:
        await backend.close()


async def test_a_busy_process_is_not_taken_away() -> None:
    backend = isolated(1, lambda: 0.0)
    await backend.start()
    try:
        with (
            backend.held(ALICE),
            pytest.raises(AppError, match="as many as it may") as caught,
        ):
            await backend.ask(BOB, "tools/call", {"name": "count"}, 20.0)
        assert caught.value.code is Code.TOOL_SERVER_DOWN
        answer = await backend.ask(BOB, "tools/call", {"name": "count"}, 20.0)
        assert answer["structuredContent"]["count"] == 1
    finally:
        async with asyncio.timeout(20):
            await backend.close()


def test_the_configuration_says_so() -> None:
    entry: dict[str, Any] = {"command": "python", "isolation": "user"}
    (server,) = parse_config({"mcp_servers": {"one": entry}}, {}).servers
    assert server.isolation == "user"
    for wrong in ({"isolation": "tenant"}, {"url": "https://example.com/", "command": None}):
        with pytest.raises(AppError, match="isolation") as caught:
            parse_config({"mcp_servers": {"one": entry | wrong}}, {})
        assert caught.value.code is Code.CONFIG_INVALID


def test_servers_may_speak_the_old_transport() -> None:
    entry = {"url": "https://example.com/sse", "transport": "sse"}
    (server,) = parse_config({"mcp_servers": {"one": entry}}, {}).servers
    assert server.transport == "sse"
