"""`subscriptions/listen`: own changes only, acknowledged first, cheap in a crowd."""

import asyncio
import contextlib
from typing import Any
from uuid import uuid4

import pytest
from fastapi import FastAPI
from mcp.client.subscriptions import Subscription
from mcp.server.subscriptions import ResourcesListChanged, ResourceUpdated, ToolsListChanged
from mcp.shared.exceptions import MCPError

from app.kernel.principal import SERVICE, Principal, Scope
from app.kernel.settings import Settings
from app.surfaces.listening import bind, listening
from app.surfaces.mcp.live.changes import Changes, Listener
from app.surfaces.operations import Operations
from tests.surfaces.mcp_listen.clients import connected
from tests.surfaces.test_mcp import call
from tests.surfaces.world import World, person

pytestmark = pytest.mark.anyio


async def next_of(stream: Subscription) -> Any:
    async with asyncio.timeout(20):
        return await anext(stream)


async def start(client: Any, text: str = "wait") -> str:
    job = await call(client, "bio_agent.run_task", template="echo", input={"text": text})
    return f"uaol://jobs/{job['job_id']}"


async def test_a_run_is_followed_from_its_trace_to_its_report(url: str, world: World) -> None:
    async with connected(url, world.alice) as client:
        job = await start(client)
        uris = [f"{job}/trace", f"{job}/report"]
        async with client.listen(resource_subscriptions=uris) as stream:
            assert stream.honored.resource_subscriptions == uris
            # Its beginning may have come before the subscription; its end cannot.
            world.task.go.set()
            told = set()
            while told != {ResourceUpdated(uri) for uri in uris}:
                told.add(await next_of(stream))
                assert told <= {ResourceUpdated(uri) for uri in uris}


async def test_only_own_resources_are_acknowledged(url: str, world: World) -> None:
    async with connected(url, world.alice) as client:
        theirs = await start(client, "hello")
    async with connected(url, world.bob) as client:
        own = await start(client, "hello")
        uris = [
            f"{own}/trace",
            f"{theirs}/trace",
            f"uaol://jobs/{uuid4()}/trace",
            f"{own}/none",
            f"{own}/trace?x=1",
            "file:///etc/passwd",
            "",
        ]
        async with client.listen(resource_subscriptions=uris) as stream:
            assert stream.honored.resource_subscriptions == [uris[0]]
        async with client.listen(resource_subscriptions=[uris[1]]) as stream:
            assert stream.honored.resource_subscriptions is None


async def test_a_new_job_changes_the_list(url: str, world: World) -> None:
    async with (
        connected(url, world.alice) as client,
        client.listen(resources_list_changed=True) as stream,
    ):
        await start(client, "hello")
        assert await next_of(stream) == ResourcesListChanged()


async def test_a_key_without_files_follows_no_resources(url: str, world: World) -> None:
    narrow = await person(world.services, "narrow@example.org", frozenset({Scope.JOBS}))
    async with connected(url, narrow) as client:
        job = await start(client, "hello")
        async with client.listen(
            resources_list_changed=True,
            tools_list_changed=True,
            resource_subscriptions=[f"{job}/trace"],
        ) as stream:
            assert stream.honored.resources_list_changed is None
            assert stream.honored.resource_subscriptions is None
            assert stream.honored.tools_list_changed is True


async def test_another_list_of_tools(url: str, world: World) -> None:
    services = world.services
    async with (
        connected(url, world.alice) as client,
        client.listen(tools_list_changed=True) as stream,
    ):
        async with services.database.begin(SERVICE) as uow:
            # Read again, not changed: nobody is told.
            await services.registry.refresh(uow)
        async with services.database.begin(SERVICE) as uow:
            await services.registry.disable(uow, "words.free")
            await services.registry.refresh(uow)
        assert await next_of(stream) == ToolsListChanged()
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert "words.free" not in names


async def test_too_much_at_once_is_refused(url: str, world: World) -> None:
    many = [f"uaol://jobs/{uuid4()}/trace" for _ in range(1001)]
    async with connected(url, world.alice) as client:
        with pytest.raises(MCPError) as caught:
            async with client.listen(resource_subscriptions=many):
                pass
        assert caught.value.data["code"] == "invalid_input"


async def test_a_process_that_stops_says_goodbye(
    app: FastAPI, settings: Settings, world: World
) -> None:
    running = contextlib.AsyncExitStack()
    url = await running.enter_async_context(listening(app, settings, bind("127.0.0.1", 0)))
    async with (
        connected(url, world.alice) as client,
        client.listen(tools_list_changed=True) as stream,
    ):
        await running.aclose()
        # A stream that was lost would raise.
        assert [event async for event in stream] == []


class TestLimits:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"listen_streams_per_user": 1, "listen_streams": 2})

    async def test_streams_are_counted(self, url: str, world: World) -> None:
        carol = await person(world.services, "carol@example.org")
        async with (
            connected(url, world.alice) as alice,
            connected(url, world.bob) as bob,
            connected(url, carol) as third,
        ):
            async with alice.listen(tools_list_changed=True):
                with pytest.raises(MCPError) as caught:
                    async with alice.listen(tools_list_changed=True):
                        pass
                assert (caught.value.code, caught.value.data["code"]) == (-32010, "rate_limited")
                async with bob.listen(tools_list_changed=True):
                    with pytest.raises(MCPError):
                        async with third.listen(tools_list_changed=True):
                            pass
            await _again(alice)


async def _again(client: Any) -> None:
    """A place is free once the server has seen the stream close."""
    async with asyncio.timeout(20):
        while True:
            try:
                async with client.listen(tools_list_changed=True):
                    return
            except MCPError:
                await asyncio.sleep(0.01)


class Told:
    """A listener that keeps what it is told."""

    def __init__(self, principal: Principal, **wanted: bool) -> None:
        self.events: list[Any] = []
        self.listener = Listener(principal, self.events.append, **wanted)


async def test_a_tenant_hears_of_nobody_else(world: World) -> None:
    changes = Changes(Operations(world.services))
    alice = Told(world.alice.principal, has_jobs=True, has_tools=True)
    bob = Told(world.bob.principal, has_jobs=True, has_tools=True)
    leave = [changes.join(each.listener) for each in (alice, bob)]
    world.services.wakeups.wake(f"user:{world.alice.user_id}")
    await changes._round()
    assert (alice.events, bob.events) == ([ResourcesListChanged()], [])
    for each in leave:
        each()
    world.services.wakeups.wake(f"user:{world.alice.user_id}")
    assert not world.services.wakeups.has_followers


async def test_a_change_that_a_caller_cannot_see_is_not_told(world: World) -> None:
    services = world.services
    changes = Changes(Operations(services))
    narrow = await person(services, "narrow@example.org", frozenset({Scope.JOBS}))
    user, poor = Told(world.alice.principal, has_tools=True), Told(narrow.principal, has_tools=True)
    leave = [changes.join(each.listener) for each in (user, poor)]
    async with services.database.begin(SERVICE) as uow:
        await services.registry.disable(uow, "words.free")
        await services.registry.refresh(uow)
    await changes._round()
    assert (user.events, poor.events) == ([ToolsListChanged()], [])
    for each in leave:
        each()


async def test_ten_thousand_listeners_need_one_task(world: World) -> None:
    changes, before = Changes(Operations(world.services)), len(asyncio.all_tasks())
    crowd = [
        Told(world.alice.principal._replace(user_id=uuid4()), has_jobs=True, has_tools=True)
        for _ in range(10_000)
    ]
    leave = [changes.join(each.listener) for each in crowd]
    assert len(asyncio.all_tasks()) - before == 1
    chosen = crowd[4711]
    world.services.wakeups.wake(f"user:{chosen.listener.principal.user_id}")
    await changes._round()
    assert [each for each in crowd if each.events] == [chosen]
    for each in leave:
        each()
    assert not changes._users
