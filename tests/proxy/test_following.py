"""The registry is followed: servers come, go, and are found out to be away without a call."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from app.kernel.clock import SystemClock
from app.kernel.db import Database
from app.kernel.metrics import Metrics
from app.kernel.principal import SERVICE, USER_SCOPES, Principal, Scope
from app.kernel.ratelimit import Limiter
from app.kernel.settings import Settings
from app.kernel.wakeups import Wakeups
from app.proxy import Follower, ToolProxy
from app.registry import Offer, Registry, Setup, ToolDefinition, make_registry
from tests.proxy.harness import until
from tests.proxy.servers.remote import Remote
from tests.registry.servers.documents import simple

pytestmark = pytest.mark.anyio
DEVELOPER = Principal("user", uuid4(), scopes=USER_SCOPES)
OPERATOR = Principal("user", uuid4(), scopes=frozenset({Scope.ADMIN}))
SETTINGS = Settings(servers_allow_private=True)


async def register(database: Database, registry: Registry, url: str) -> None:
    async with database.begin(SERVICE) as uow:
        servers, document = registry.servers, simple(url, name="io.github.test/lab")
        await servers.create(uow, DEVELOPER, "lab", document, offer=Offer(5), setup=Setup())
        draft = await servers.draft(uow, DEVELOPER, "lab")
        tools = [ToolDefinition("lab", "echo", "Echoes.", {"type": "object"})]
        await servers.submit(uow, DEVELOPER, "lab", draft, tools)
        await registry.decisions.approve(uow, OPERATOR, "lab")


async def test_servers_are_looked_after_without_a_call(database: Database) -> None:
    async def no_file(_principal: Principal, _file_id: object) -> Path:
        raise AssertionError("no call is made")

    clock, wakeups = SystemClock(), Wakeups(None)
    registry = make_registry(SETTINGS, wakeups, Metrics())
    proxy = ToolProxy(registry, Limiter(clock), SETTINGS, no_file, [], clock)
    # All that is looked at, at every turn.
    follower = Follower(database, wakeups, registry, proxy, poll_s=0.05, check_s=0.0)
    remote = Remote(json_response=True)
    async with remote.serving():
        following = asyncio.create_task(follower.run())
        try:
            assert proxy.health() == []
            await register(database, registry, remote.url)
            await until(lambda: [one.is_up for one in proxy.health()] == [True])
            remote.answer = (503, [], b"")
            await until(lambda: not proxy.health()[0].is_up)
            remote.answer = None
            await until(lambda: proxy.health()[0].is_up)
        finally:
            following.cancel()
            await asyncio.wait({following})
            await proxy.close()
