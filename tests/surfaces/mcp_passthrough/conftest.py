"""The door of one server: the application over a real proxy, with real servers behind it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from app.kernel.clock import SystemClock
from app.kernel.db import Database
from app.kernel.errors import AppError, Code
from app.kernel.principal import SERVICE, Principal
from app.kernel.ratelimit import Limiter
from app.kernel.settings import Settings
from app.main import create_app
from app.proxy import ToolProxy
from app.registry import Prices, ServerConfig, ToolDefinition
from app.surfaces.listening import bind, listening
from app.surfaces.services import Services
from tests.surfaces.mcp_listen.clients import noting
from tests.surfaces.mcp_passthrough.upstream import Everything
from tests.surfaces.world import Person, World

PRICE = 1000
Era = Literal["auto", "legacy"]


@dataclass
class Door:
    """The application at `url`, with the servers it passes through."""

    world: World
    services: Services
    url: str

    @asynccontextmanager
    async def client(
        self,
        slug: str | None,
        era: Era = "auto",
        who: Person | None = None,
        *,
        has_stream: asyncio.Event | None = None,
        **keys: Any,
    ) -> AsyncIterator[Client]:
        headers, hooks = dict((who or self.world.alice).headers), noting(has_stream)
        async with httpx2.AsyncClient(headers=headers, timeout=60, event_hooks=hooks) as http:
            url = f"{self.url}/mcp" if slug is None else f"{self.url}/mcp/servers/{slug}"
            async with Client(
                streamable_http_client(url, http_client=http), mode=era, cache=None, **keys
            ) as client:
                yield client

    async def spent(self, who: Person | None = None) -> tuple[int, int]:
        """What was charged and what is held, in micro-credits."""
        person = who or self.world.alice
        async with self.world.database.begin(person.principal) as uow:
            wallet = await self.services.billing.wallet(uow, person.user_id)
        return wallet.captured_micro, wallet.held_micro

    async def settled(self, captured: int, who: Person | None = None) -> None:
        """Wait until nothing is held, and see that so much was charged."""
        async with asyncio.timeout(60):
            while (spent := await self.spent(who))[1]:
                await asyncio.sleep(0.02)
        assert spent == (captured, 0)


Open = Callable[..., AbstractAsyncContextManager[Door]]


async def _no_file(_principal: Principal, file_id: UUID) -> Path:
    raise AppError(Code.NOT_FOUND, f"There is no file {file_id}.")


def config(server: Everything, **keys: Any) -> ServerConfig:
    """The server as an operator configures it, each call at `PRICE`."""
    given: dict[str, Any] = {
        "name": "all",
        "url": server.url,
        "prices": Prices(PRICE),
        "is_trusted": True,
    } | keys
    return ServerConfig(**given)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wire's own short times, for a machine that stands still for a while."""
    for name in ("guard.CONNECT_S", "era._ASK_S"):
        monkeypatch.setattr(f"app.proxy.wire.{name}", 60.0)


@pytest.fixture
def opened(world: World, database: Database, settings: Settings) -> Open:
    """Opens the door over servers; all they list but `hidden` is approved."""

    @asynccontextmanager
    async def opening(*servers: ServerConfig, **changes: Any) -> AsyncIterator[Door]:
        registry, billing = world.services.registry, world.services.billing

        async def pin(server: ServerConfig, definitions: Sequence[ToolDefinition]) -> None:
            async with database.begin(SERVICE) as uow:
                await registry.pin(uow, server, definitions)
                for one in definitions:
                    price = server.prices.of(one.name)
                    await billing.publish_price(uow, "tool", one.full_name, price)
                    if one.name == "hidden":
                        await registry.disable(uow, one.full_name)
                await registry.refresh(uow)

        chosen = settings.model_copy(update=changes)
        clock = SystemClock()
        proxy = ToolProxy(
            registry,
            Limiter(clock),
            chosen,
            _no_file,
            [],
            clock,
            servers=servers,
            on_listed=pin,
        )
        services = replace(world.services, proxy=proxy, settings=chosen)
        await proxy.start()
        try:
            app = create_app(services)
            async with listening(app, chosen, bind("127.0.0.1", 0)) as url:
                yield Door(world, services, url)
        finally:
            await proxy.close()

    return opening
