"""The doors over a real proxy, a real ledger and an upstream that a test can steer."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import httpx2
import orjson
import pytest
from mcp_types.version import LATEST_MODERN_VERSION

from app.kernel.clock import SystemClock
from app.kernel.principal import SERVICE
from app.kernel.ratelimit import Limiter
from app.kernel.settings import Settings
from app.main import create_app
from app.proxy import FastCalls, FastResult, ToolProxy
from app.registry import Prices, ServerConfig
from app.surfaces.listening import bind, listening
from app.surfaces.services import Services
from app.wiring import catalogue
from tests.surfaces.conftest import _no_file
from tests.surfaces.fastpath.upstream import Upstream, upstream
from tests.surfaces.world import Person, World, person

PRICE = 1_000
# A header that plain calls do not have; the transport itself does not look at it.
SLOWLY = ("mcp-session-id", "none")
META: dict[str, Any] = {
    "io.modelcontextprotocol/protocolVersion": LATEST_MODERN_VERSION,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
}


def message(name: str = "far.echo", request_id: Any = 1, **params: Any) -> dict[str, Any]:
    given = {"name": name, "arguments": {"text": "hi"}, "_meta": META} | params
    return {"jsonrpc": "2.0", "id": request_id, "method": "tools/call", "params": given}


@dataclass
class Far:
    """A served platform with one remote server."""

    url: str
    services: Services
    upstream: Upstream
    world: World
    http: httpx2.AsyncClient
    carried: list[str] = field(default_factory=list)

    async def post(
        self,
        body: Any,
        *,
        who: Person | None = None,
        name: str | None = None,
        headers: list[tuple[str, str]] | None = None,
        drop: str | None = None,
        is_slow: bool = False,
        query: str = "",
    ) -> httpx2.Response:
        """A request with the headers that its body asks for; `headers` replace or add to them."""
        data = body if isinstance(body, bytes) else orjson.dumps(body)
        who = who or self.world.alice
        named = name if name is not None else body["params"]["name"]
        usual = {
            "accept": "application/json, text/event-stream",
            "content-type": "application/json",
            "authorization": who.headers["authorization"],
            "mcp-protocol-version": LATEST_MODERN_VERSION,
            "mcp-method": "tools/call",
            "mcp-name": named,
        }
        given = headers or []
        replaced = {key for key, _ in given} | {drop}
        sent = [(key, value) for key, value in usual.items() if key not in replaced] + given
        if is_slow:
            sent.append(SLOWLY)
        return await self.http.post(f"{self.url}/mcp{query}", content=data, headers=sent)

    async def wallet(self, who: Person | None = None) -> tuple[int, int]:
        """Captured and held micro-credits, once all charges are written."""
        who = who or self.world.alice
        async with self.world.database.begin(who.principal) as uow:
            wallet = await self.services.billing.wallet(uow, who.user_id)
        return wallet.captured_micro, wallet.held_micro

    async def metered(self) -> int:
        async with self.world.database.begin(SERVICE) as uow:
            return int((await uow.execute("select count(*) from app.usage_event")).scalar_one())


@pytest.fixture
def settings(tmp_path: Any) -> Settings:
    return Settings(
        home=tmp_path / "home",
        request_limit=64 * 1024,
        tool_output_limit=64 * 1024,
        allowed_origins=["https://ui.example"],
        poll_seconds=0.05,
        calls_per_minute=100_000,
        tool_calls_per_minute=100_000,
    )


@pytest.fixture
async def far(
    world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Far]:
    base = world.services
    async with upstream() as played:
        server = ServerConfig(
            name="far", url=played.url, prices=Prices(PRICE, {"free": 0, "dear": 10**12})
        )
        proxy = ToolProxy(
            base.registry,
            Limiter(SystemClock()),
            settings,
            _no_file,
            [],
            SystemClock(),
            servers=[server],
            on_listed=catalogue(world.database, base.registry, base.billing),
        )
        services = replace(base, proxy=proxy, settings=settings)
        await proxy.start()
        async with world.database.begin(SERVICE) as uow:
            await base.registry.disable(uow, "far.off")
            await base.registry.refresh(uow)
        app = create_app(services)
        async with (
            listening(app, settings, bind("127.0.0.1", 0)) as url,
            httpx2.AsyncClient(timeout=30) as http,
        ):
            made = Far(url, services, played, world, http)
            _note_carried(made, monkeypatch)
            yield made
        await proxy.close()


def _note_carried(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    """Note what went the fast way."""
    original = FastCalls.carry

    async def carry(self: FastCalls, principal: Any, route: Any, *rest: Any) -> FastResult:
        far.carried.append(route.tool.full_name)
        return await original(self, principal, route, *rest)

    monkeypatch.setattr(FastCalls, "carry", carry)


@pytest.fixture
async def poor(world: World) -> Person:
    return await person(world.services, "poor@example.org", granted=0)
