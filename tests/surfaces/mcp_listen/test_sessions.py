"""The same changes for clients of the handshake era, on the stream of their session."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import mcp_types as types
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError

from app.kernel.principal import SERVICE
from app.kernel.settings import Settings
from tests.surfaces.mcp_listen.clients import (
    Inbox,
    connected,
    set_level,
    subscribe,
    unsubscribe,
    until,
)
from tests.surfaces.test_mcp import call
from tests.surfaces.world import World

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def _listening(url: str, world: World, inbox: Inbox) -> AsyncIterator[Client]:
    """Alice's client, which hears what its session is told."""
    has_stream = asyncio.Event()
    async with connected(
        url, world.alice, "legacy", has_stream=has_stream, message_handler=inbox
    ) as client:
        await until(has_stream.is_set)
        yield client


async def test_the_handshake_says_so(url: str, world: World) -> None:
    async with connected(url, world.alice, "legacy") as client:
        capabilities = client.server_capabilities
        assert capabilities is not None
        assert capabilities.tools is not None
        assert capabilities.tools.list_changed is True
        assert capabilities.resources is not None
        assert (capabilities.resources.list_changed, capabilities.resources.subscribe) == (
            True,
            True,
        )
        assert capabilities.logging is not None


async def test_lists_and_resources(url: str, world: World) -> None:
    inbox, services = Inbox(), world.services
    async with _listening(url, world, inbox) as client:
        job = await call(client, "bio_agent.run_task", template="echo", input={"text": "wait"})
        await until(lambda: inbox.has(types.ResourceListChangedNotification))
        uris = [f"uaol://jobs/{job['job_id']}/{name}" for name in ("trace", "report")]
        for uri in uris:
            await subscribe(client, uri)
        world.task.go.set()
        for uri in uris:
            await until(partial(inbox.has, types.ResourceUpdatedNotification, uri))
        async with services.database.begin(SERVICE) as uow:
            await services.registry.disable(uow, "words.free")
            await services.registry.refresh(uow)
        await until(lambda: inbox.has(types.ToolListChangedNotification))


async def test_what_is_not_the_callers_is_not_found(url: str, world: World) -> None:
    async with connected(url, world.alice) as client:
        job = await call(client, "bio_agent.run_task", template="echo", input={"text": "hello"})
    uri = f"uaol://jobs/{job['job_id']}/trace"
    async with connected(url, world.bob, "legacy") as client:
        for foreign in (uri, "file:///etc/passwd", "uaol://jobs/x/trace"):
            with pytest.raises(MCPError) as caught:
                await subscribe(client, foreign)
            assert (caught.value.code, caught.value.data["code"]) == (-32002, "not_found")
            await unsubscribe(client, foreign)


async def test_unsubscribed_is_told_no_more(url: str, world: World) -> None:
    inbox, services = Inbox(), world.services
    async with _listening(url, world, inbox) as client:
        job = await call(client, "bio_agent.run_task", template="echo", input={"text": "wait"})
        # A file is told of when its run has ended, as the report would be.
        names = ("report", "files/report.md")
        left, kept = (f"uaol://jobs/{job['job_id']}/{name}" for name in names)
        for uri in (left, kept):
            await subscribe(client, uri)
        await unsubscribe(client, left)
        world.task.go.set()
        await until(lambda: inbox.has(types.ResourceUpdatedNotification, kept))
        # The server knows of the end: who asks only now is not told of it.
        await subscribe(client, left)
        async with services.database.begin(SERVICE) as uow:
            await services.registry.disable(uow, "words.free")
            await services.registry.refresh(uow)
        # Whatever was on its way to the session came before this.
        await until(lambda: inbox.has(types.ToolListChangedNotification))
        assert not inbox.has(types.ResourceUpdatedNotification, left)


class TestWithoutSessions:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"mcp_legacy_sessions": "stateless"})

    async def test_nothing_is_promised(self, url: str, world: World) -> None:
        async with connected(url, world.alice, "legacy") as client:
            capabilities = client.server_capabilities
            assert capabilities is not None
            assert capabilities.resources is not None
            assert not capabilities.resources.list_changed
            assert not capabilities.resources.subscribe
            assert capabilities.logging is None
            job = await call(client, "bio_agent.run_task", template="echo", input={"text": "hello"})
            for asked in (
                subscribe(client, f"uaol://jobs/{job['job_id']}/trace"),
                set_level(client, "debug"),
            ):
                with pytest.raises(MCPError) as caught:
                    await asked
                assert caught.value.data["code"] == "conflict"
