"""A canary that a server is sent and tells everybody: it comes out at no door and in no log."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from io import StringIO
from typing import Any

import httpx2
import orjson
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from app.kernel.clock import SystemClock
from app.kernel.principal import SERVICE
from app.kernel.ratelimit import Limiter
from app.kernel.settings import Settings
from app.kernel.telemetry import JsonFormatter
from app.main import create_app
from app.proxy import ToolProxy
from app.registry import Prices, SecretHeader, ServerConfig
from app.surfaces.listening import bind, listening
from app.surfaces.safe import finder, open_safe
from app.surfaces.services import Services
from app.wiring import catalogue
from tests.books import assert_balanced
from tests.surfaces.conftest import _no_file
from tests.surfaces.fastpath.conftest import META
from tests.surfaces.secrets_sent.upstream import CANARY, FORMS, Leaky
from tests.surfaces.test_http_errors import assert_problem
from tests.surfaces.world import World

pytestmark = pytest.mark.anyio

PRICE = 1000
NEEDS = (SecretHeader("Authorization", "Bearer {TOKEN}"),)


@dataclass
class Platform:
    """The platform with one server that leaks; `log` is what it logged."""

    url: str
    world: World
    services: Services
    leaky: Leaky
    http: httpx2.AsyncClient
    log: StringIO

    async def set(self, value: str = CANARY) -> None:
        body = {"value": value, "servers": ["leaky"]}
        answer = await self.http.put("/v1/secrets/TOKEN", json=body)
        assert answer.status_code == 200, answer.text

    async def spent(self) -> tuple[int, int]:
        async with self.world.database.begin(self.world.alice.principal) as uow:
            wallet = await self.services.billing.wallet(uow, self.world.alice.user_id)
        return wallet.captured_micro, wallet.held_micro

    async def stored(self) -> str:
        """All rows of all tables, but for what is sealed."""
        sql = """
        select tablename from pg_tables
        where schemaname = 'app' and has_table_privilege('app.' || tablename, 'select')
        """
        async with self.world.database.begin(SERVICE) as uow:
            names = (await uow.execute(sql)).scalars().all()
            found = []
            assert "vault_sealed" in names
            for name in names:
                rows = await uow.execute(f"select * from app.{name}")
                found += [dict(row) for row in rows.mappings()]
        return str(found)

    @asynccontextmanager
    async def client(self, path: str, era: str, **keys: Any) -> AsyncIterator[Client]:
        headers = dict(self.world.alice.headers)
        async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
            streams = streamable_http_client(f"{self.url}{path}", http_client=http)
            async with Client(streams, mode=era, cache=None, **keys) as client:
                yield client

    async def assert_silent(self, *said: object) -> None:
        """The canary is in nothing that was said, stored or logged, and did reach the server."""
        assert set(self.leaky.tokens) == {f"Bearer {CANARY}"}
        for heard in (*map(str, said), self.log.getvalue(), await self.stored()):
            for form in FORMS:
                assert form not in heard


@pytest.fixture
async def platform(world: World, settings: Settings) -> AsyncIterator[Platform]:
    base, clock, leaky = world.services, SystemClock(), Leaky()
    log = StringIO()
    handler = logging.StreamHandler(log)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.addHandler(handler)
    before, root.level = root.level, logging.DEBUG
    async with leaky.serving():
        server = ServerConfig(
            name="leaky", url=leaky.url, prices=Prices(PRICE), is_trusted=True, secrets=NEEDS
        )
        find = finder(base.registry, [server])
        safe = open_safe(settings, world.database, base.wakeups, clock, find)
        proxy = ToolProxy(
            base.registry,
            Limiter(clock),
            settings,
            _no_file,
            [],
            clock,
            servers=[server],
            on_listed=catalogue(world.database, base.registry, base.billing),
            credentials=safe.credentials,
        )
        services = replace(base, proxy=proxy, safe=safe)
        await proxy.start()
        async with (
            listening(create_app(services), settings, bind("127.0.0.1", 0)) as url,
            httpx2.AsyncClient(base_url=url, headers=dict(world.alice.headers), timeout=30) as http,
        ):
            yield Platform(url, world, services, leaky, http, log)
        await proxy.close()
        await safe.web.close()
    root.removeHandler(handler)
    root.level = before


async def test_over_http(platform: Platform) -> None:
    await platform.set()
    said = []
    for name in ("echo", "refuse", "break"):
        answer = await platform.http.post(f"/v1/tools/leaky.{name}/call", json={"arguments": {}})
        said.append(answer.text + str(answer.headers))
    assert "***" in said[0]
    assert await platform.spent() == (PRICE, 0)
    await platform.assert_silent(*said)


@pytest.mark.parametrize("path", ["/mcp", "/mcp/servers/leaky"])
@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_over_mcp(platform: Platform, path: str, era: str) -> None:
    await platform.set()
    said: list[object] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        said.append(message)

    async with platform.client(path, era) as client:
        prefix = "leaky." if path == "/mcp" else ""
        said += [await client.call_tool(prefix + name, {}) for name in ("echo", "refuse")]
        said.append(await client.call_tool(prefix + "progress", {}, progress_callback=progress))
        try:
            said.append(await client.call_tool(prefix + "break", {}))
        except MCPError as error:
            said.append(f"{error.error}")
    assert "***" in str(said[0])
    await platform.assert_silent(*said)


async def test_the_fast_way(platform: Platform) -> None:
    await platform.set()
    said = []
    for name in ("leaky.echo", "leaky.refuse", "leaky.break"):
        params = {"name": name, "arguments": {}, "_meta": META}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        answer = await platform.http.post(
            "/mcp",
            content=orjson.dumps(body),
            headers={
                "accept": "application/json, text/event-stream",
                "content-type": "application/json",
                "mcp-protocol-version": "2026-07-28",
                "mcp-method": "tools/call",
                "mcp-name": name,
            },
        )
        orjson.loads(answer.content)
        said.append(answer.text)
    assert "***" in said[0]
    await platform.assert_silent(*said)


async def test_what_is_listed_with_a_developers_secret_does_not_show_it(
    platform: Platform,
) -> None:
    await platform.set()
    server = ServerConfig(
        name="leaky",
        url=platform.leaky.url,
        secrets=NEEDS,
        developer_id=platform.world.alice.user_id,
    )
    listed = await platform.services.proxy.inspect(server)
    assert {one.description for one in listed} == {"Was sent Bearer ***."}
    assert CANARY not in str(listed)


async def test_nothing_of_the_callers_own_request_leaves(platform: Platform) -> None:
    await platform.set()
    key = platform.world.alice.key
    headers = {"cookie": "session=abc", "x-secret": "mine", "proxy-authorization": "Basic abc"}
    await platform.http.post("/v1/tools/leaky.echo/call", json={"arguments": {}}, headers=headers)
    assert platform.leaky.tokens
    seen = str(platform.leaky.headers)
    for mine in (key, "session=abc", "mine", "Basic abc"):
        assert mine not in seen


async def test_what_is_missing_costs_nothing_and_sends_nothing(platform: Platform) -> None:
    before = len(platform.leaky.headers)
    answer = await platform.http.post("/v1/tools/leaky.echo/call", json={"arguments": {}})
    problem = assert_problem(answer, 409, "secret_missing")
    assert problem["details"]["secret"] == "TOKEN"
    assert len(platform.leaky.headers) == before
    for era in ("auto", "legacy"):
        async with platform.client("/mcp", era) as client:
            result = await client.call_tool("leaky.echo", {})
            assert result.is_error
            assert "secret_missing" in str(result.content)
    assert platform.leaky.tokens == []
    # What a call in a session set aside is given back a moment later.
    async with asyncio.timeout(20):
        while await platform.spent() != (0, 0):
            await asyncio.sleep(0.01)
    await assert_balanced(platform.world.database)


async def test_a_wrong_secret_is_refused_and_not_shown(platform: Platform) -> None:
    await platform.set("wrong-canary-value")
    answer = await platform.http.post("/v1/tools/leaky.echo/call", json={"arguments": {}})
    assert_problem(answer, 409, "secret_refused")
    assert "wrong-canary" not in answer.text + platform.log.getvalue()
    assert await platform.spent() == (0, 0)
    for _ in range(8):
        answer = await platform.http.post("/v1/tools/leaky.echo/call", json={"arguments": {}})
        assert_problem(answer, 409, "secret_refused")
    await platform.set()
    # One user's wrong secret keeps nobody from the server.
    answer = await platform.http.post("/v1/tools/leaky.echo/call", json={"arguments": {}})
    assert answer.status_code == 200


async def test_another_users_calls_do_not_carry_it(platform: Platform) -> None:
    await platform.set()
    await platform.http.post("/v1/tools/leaky.echo/call", json={"arguments": {}})
    bob = dict(platform.world.bob.headers)
    answer = await platform.http.post(
        "/v1/tools/leaky.echo/call", json={"arguments": {}}, headers=bob
    )
    assert_problem(answer, 409, "secret_missing")
    assert len(platform.leaky.tokens) == 1
