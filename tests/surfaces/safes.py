"""The doors' world with a safe: a server that needs a secret, and one with OAuth of its own."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest

from app.kernel.clock import SystemClock
from app.kernel.settings import Settings
from app.proxy.credentials import RemoteServer
from app.registry import SecretHeader
from app.surfaces.safe import Safe, open_safe
from app.surfaces.services import Services
from tests.surfaces.world import World

NEEDS = (SecretHeader("Authorization", "Bearer {TOKEN}"),)


@dataclass
class SafeWorld:
    world: World
    services: Services
    safe: Safe
    upstreams: dict[str, RemoteServer]


@pytest.fixture
async def safes(world: World, settings: Settings) -> AsyncIterator[SafeWorld]:
    upstreams = {"api": RemoteServer("api", "https://api.example/mcp", NEEDS)}
    private = settings.model_copy(update={"servers_allow_private": True})
    services = world.services
    safe = open_safe(private, services.database, services.wakeups, SystemClock(), upstreams.get)
    yield SafeWorld(world, replace(services, safe=safe), safe, upstreams)
    await safe.web.close()
