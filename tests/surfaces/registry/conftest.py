"""The doors over the platform as the wiring builds it, with real tool servers behind it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from app.kernel.outbox import Relay
from app.kernel.principal import USER_SCOPES, Scope
from app.kernel.settings import Settings
from app.proxy import Follower
from app.surfaces.services import Services
from app.wiring import HubAddress, build, reactions
from tests.proxy.harness import until
from tests.registry.servers.documents import simple
from tests.surfaces.registry.upstream import Upstream
from tests.surfaces.world import Person, person


@dataclass
class Place:
    """A running platform, two developers and an operator."""

    services: Services
    alice: Person
    bob: Person
    operator: Person
    follower: Follower
    following: asyncio.Task[None]

    async def relay(self) -> None:
        """Deliver the facts that were stated so far."""
        services = self.services
        relay = Relay(services.database, reactions(services.billing, services.registry))
        await relay.run_once()

    async def up(self, slug: str) -> None:
        """Wait until the server's backend is connected."""
        await until(
            lambda: any(one.name == slug and one.is_up for one in self.services.proxy.health()),
            60,
        )


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wire's own short times, for a machine that stands still for a while."""
    for name in ("guard.CONNECT_S", "era._ASK_S"):
        monkeypatch.setattr(f"app.proxy.wire.{name}", 60.0)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path / "home", servers_allow_private=True, public_url="https://uaol.example"
    )


@asynccontextmanager
async def platform(
    settings: Settings, dsn: str
) -> AsyncIterator[tuple[Services, Follower, asyncio.Task[None]]]:
    """One process of the platform, without a worker; it follows the registry in that task."""
    services = build(settings, HubAddress(dsn, dsn, is_embedded=True), [], has_worker=False)
    await services.wakeups.start()
    await services.proxy.start()
    follower = Follower(
        services.database, services.wakeups, services.registry, services.proxy, poll_s=30
    )
    task = asyncio.create_task(follower.run())
    try:
        yield services, follower, task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await services.proxy.close()
        await services.wakeups.close()
        await services.database.close()


@pytest.fixture
async def world(settings: Settings, dsn: str) -> AsyncIterator[Place]:
    async with platform(settings, dsn) as (services, follower, following):
        scopes = frozenset({*USER_SCOPES, Scope.ADMIN})
        yield Place(
            services,
            await person(services, "alice@example.org"),
            await person(services, "bob@example.org"),
            await person(services, "operator@example.org", scopes),
            follower,
            following,
        )


class Door:
    """HTTP in the same process, as somebody; answers are JSON, refusals fail the test."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self.client = client

    async def send(
        self, who: Person, method: str, path: str, body: Any = None, status: int = 200
    ) -> Any:
        """One request; its status must be the given one."""
        response = await self.client.request(method, path, json=body, headers=dict(who.headers))
        assert response.status_code == status, response.text
        return response.json()

    async def get(self, who: Person, path: str, status: int = 200) -> Any:
        return await self.send(who, "GET", path, None, status)

    async def post(self, who: Person, path: str, body: Any = None, status: int = 200) -> Any:
        return await self.send(who, "POST", path, body, status)

    async def put(self, who: Person, path: str, body: Any = None, status: int = 200) -> Any:
        return await self.send(who, "PUT", path, body, status)


@pytest.fixture
async def door(app: FastAPI) -> AsyncIterator[Door]:
    transport = httpx2.ASGITransport(app=app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield Door(client)


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    server = Upstream()
    async with server.serving():
        yield server


async def register(
    door: Door, who: Person, url: str, slug: str = "lab", version: str = "1.0.0", **offer: Any
) -> dict[str, Any]:
    """Register a server under its slug, at a price of 10,000 micro-credits unless told else."""
    document = simple(url, version, name=f"io.github.test/{slug}")
    body = {"slug": slug, "server": document, "offer": {"price_micro": 10_000} | offer}
    made: dict[str, Any] = await door.post(who, "/v1/registry/servers", body, 201)
    return made


async def approved(
    door: Door, world: Place, url: str, slug: str = "lab", **offer: Any
) -> dict[str, Any]:
    """A server of alice's, from its registration to its approval; its backend is connected."""
    await register(door, world.alice, url, slug, **offer)
    path = f"/v1/registry/servers/{slug}"
    await door.post(world.alice, f"{path}/submit", {})
    made: dict[str, Any] = await door.post(world.operator, f"{path}/approve")
    await world.up(slug)
    return made
