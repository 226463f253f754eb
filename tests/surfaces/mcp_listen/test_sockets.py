"""The same over WebSocket, in both eras, and over SSE: one connection carries it all."""

import asyncio
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal

import mcp_types as types
import pytest
from mcp import Client
from mcp.server.subscriptions import ResourcesListChanged, ResourceUpdated

from tests.surfaces.mcp_doors.clients import Era, by_socket, by_sse
from tests.surfaces.mcp_listen.clients import Inbox, subscribe, until
from tests.surfaces.mcp_listen.test_asking import ARGUMENTS, RUN, Person, accept
from tests.surfaces.test_mcp import call
from tests.surfaces.world import World

pytestmark = pytest.mark.anyio
Door = Literal["socket-auto", "socket-legacy", "sse"]
Old = Literal["socket-legacy", "sse"]


def through(
    door: Door, url: str, world: World, **callbacks: Any
) -> AbstractAsyncContextManager[Client]:
    """Alice's client through a door."""
    headers = world.alice.headers
    if door == "sse":
        return by_sse(url, headers, **callbacks)
    era: Era = "auto" if door == "socket-auto" else "legacy"
    return by_socket(url, headers, era, **callbacks)


async def test_a_stream_over_a_socket(url: str, world: World) -> None:
    async with through("socket-auto", url, world) as client, asyncio.timeout(30):
        async with client.listen(resources_list_changed=True) as lists:
            job = await call(client, "bio_agent.run_task", template="echo", input={"text": "wait"})
            assert await anext(lists) == ResourcesListChanged()
        uri = f"uaol://jobs/{job['job_id']}/report"
        async with client.listen(resource_subscriptions=[uri]) as stream:
            world.task.go.set()
            assert await anext(stream) == ResourceUpdated(uri)


@pytest.mark.parametrize("door", ["socket-legacy", "sse"])
async def test_a_session_is_told(url: str, world: World, door: Old) -> None:
    inbox = Inbox()
    async with through(door, url, world, message_handler=inbox) as client:
        job = await call(client, "bio_agent.run_task", template="echo", input={"text": "wait"})
        await until(lambda: inbox.has(types.ResourceListChangedNotification))
        uri = f"uaol://jobs/{job['job_id']}/report"
        await subscribe(client, uri)
        world.task.go.set()
        await until(lambda: inbox.has(types.ResourceUpdatedNotification, uri))


@pytest.mark.parametrize("door", ["socket-auto", "socket-legacy", "sse"])
async def test_a_run_asks(url: str, world: World, door: Door) -> None:
    who = Person(accept(order=True))
    async with through(door, url, world, elicitation_callback=who) as client:
        done = await call(client, RUN, **ARGUMENTS)
    assert done["final_output"] == {"output": "true"}
    assert [form.message for form in who.forms] == ["Order it?"]
