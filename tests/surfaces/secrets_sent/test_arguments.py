"""A canary that fills an argument: it reaches that argument alone, and comes out at no door."""

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
from app.registry import Prices, SecretArgument, ServerConfig
from app.surfaces.listening import bind, listening
from app.surfaces.safe import finder, open_safe
from app.surfaces.services import Services
from app.wiring import catalogue
from tests.books import assert_balanced
from tests.surfaces.conftest import _no_file
from tests.surfaces.fastpath.conftest import META
from tests.surfaces.secrets_sent.keyed import NAMES, Keyed
from tests.surfaces.secrets_sent.upstream import CANARY, FORMS
from tests.surfaces.test_http_errors import assert_problem
from tests.surfaces.world import World

pytestmark = pytest.mark.anyio

PRICE = 1000
NEEDS = tuple(SecretArgument(name, "api_key", "KEY") for name in NAMES)


@dataclass
class Platform:
    """The platform with one server whose tools want a key; `log` is what it logged."""

    url: str
    world: World
    services: Services
    keyed: Keyed
    http: httpx2.AsyncClient
    log: StringIO

    async def set(self, value: str = CANARY) -> None:
        answer = await self.http.put("/v1/secrets/KEY", json={"value": value, "servers": ["keyed"]})
        assert answer.status_code == 200, answer.text

    async def call(self, name: str, arguments: dict[str, Any], **keys: Any) -> httpx2.Response:
        body = {"arguments": arguments}
        return await self.http.post(f"/v1/tools/keyed.{name}/call", json=body, **keys)

    async def fast(self, name: str, arguments: dict[str, Any]) -> httpx2.Response:
        params = {"name": f"keyed.{name}", "arguments": arguments, "_meta": META}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        headers = {
            "accept": "application/json, text/event-stream",
            "content-type": "application/json",
            "mcp-protocol-version": "2026-07-28",
            "mcp-method": "tools/call",
            "mcp-name": f"keyed.{name}",
        }
        return await self.http.post("/mcp", content=orjson.dumps(body), headers=headers)

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
            assert "vault_sealed" in names
            assert "processing_jobs" in names
            rows = [await uow.execute(f"select * from app.{name}") for name in names]
            return str([[dict(row) for row in found.mappings()] for found in rows])

    @asynccontextmanager
    async def client(self, path: str, era: str) -> AsyncIterator[Client]:
        headers = dict(self.world.alice.headers)
        async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
            streams = streamable_http_client(f"{self.url}{path}", http_client=http)
            async with Client(streams, mode=era, cache=None) as client:
                yield client

    async def assert_silent(self, *said: object) -> None:
        """The canary is in nothing that was said, stored or logged, and did reach the server."""
        self.keyed.assert_sent_as_declared()
        for heard in (*map(str, said), self.log.getvalue(), await self.stored()):
            for form in FORMS:
                assert form not in heard


@pytest.fixture
async def platform(world: World, settings: Settings) -> AsyncIterator[Platform]:
    base, clock, keyed = world.services, SystemClock(), Keyed()
    log = StringIO()
    handler = logging.StreamHandler(log)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.addHandler(handler)
    before, root.level = root.level, logging.DEBUG
    async with keyed.serving():
        server = ServerConfig(
            name="keyed",
            url=keyed.url,
            prices=Prices(PRICE),
            is_trusted=True,
            secret_arguments=NEEDS,
        )
        safe = open_safe(
            settings, world.database, base.wakeups, clock, finder(base.registry, [server])
        )
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
            yield Platform(url, world, services, keyed, http, log)
        await proxy.close()
        await safe.web.close()
    root.removeHandler(handler)
    root.level = before


async def test_over_http(platform: Platform) -> None:
    await platform.set()
    said = []
    for name in ("echo", "refuse", "break"):
        answer = await platform.call(name, {"q": 1.5})
        said.append(answer.text + str(answer.headers))
    assert "***" in said[0]
    assert platform.keyed.calls[0] == ("echo", {"q": 1.5, "api_key": CANARY})
    assert await platform.spent() == (PRICE, 0)
    await platform.assert_silent(*said)


@pytest.mark.parametrize("path", ["/mcp", "/mcp/servers/keyed"])
@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_over_mcp(platform: Platform, path: str, era: str) -> None:
    await platform.set()
    said: list[object] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        said.append(message)

    prefix = "keyed." if path == "/mcp" else ""
    async with platform.client(path, era) as client:
        listed = (await client.list_tools()).tools
        schemas = {each.name: each.input_schema for each in listed}
        assert schemas[f"{prefix}echo"]["properties"] == {"q": {"type": "number"}}
        assert schemas[f"{prefix}echo"]["required"] == []
        assert "api_key" not in str(schemas)
        said += [await client.call_tool(prefix + name, {"q": 2}) for name in ("echo", "refuse")]
        said.append(await client.call_tool(prefix + "progress", {}, progress_callback=progress))
        try:
            said.append(await client.call_tool(prefix + "break", {}))
        except MCPError as error:
            said.append(f"{error.error}")
        await client.call_tool(f"{prefix}open", {})
    assert "***" in str(said[0])
    assert {name for name, _ in platform.keyed.calls} == {*NAMES, "open"}
    await platform.assert_silent(*said)


async def test_the_fast_way(platform: Platform) -> None:
    await platform.set()
    said = []
    for name in ("echo", "refuse", "break"):
        answer = await platform.fast(name, {"q": 3})
        orjson.loads(answer.content)
        said.append(answer.text)
    assert "***" in said[0]
    assert platform.keyed.calls[0] == ("echo", {"q": 3, "api_key": CANARY})
    await platform.assert_silent(*said)


@pytest.mark.parametrize("path", ["/mcp", "/mcp/servers/keyed"])
@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_callers_own_value_is_refused(platform: Platform, path: str, era: str) -> None:
    await platform.set()
    answer = await platform.call("echo", {"api_key": "mine"})
    problem = assert_problem(answer, 422, "unknown_field")
    assert problem["details"]["pointer"] == "/api_key"
    assert b"unknown_field" in (await platform.fast("echo", {"api_key": "mine"})).content
    async with platform.client(path, era) as client:
        name = "keyed.echo" if path == "/mcp" else "echo"
        result = await client.call_tool(name, {"api_key": "mine"})
        assert result.is_error
        assert "unknown_field" in str(result.content)
    job = {"tool": "keyed.echo", "arguments": {"api_key": "mine"}}
    answer = await platform.http.post("/v1/jobs", json=job)
    assert answer.status_code == 422, answer.text
    assert platform.keyed.calls == []
    assert await platform.spent() == (0, 0)


async def test_an_answer_is_not_kept_though_its_tool_says_so(platform: Platform) -> None:
    await platform.set()
    for _ in range(2):
        assert (await platform.call("echo", {})).status_code == 200
        assert (await platform.fast("echo", {})).status_code == 200
    assert len(platform.keyed.calls) == 4


async def test_a_missing_secret_refuses_its_tools_only_and_costs_nothing(
    platform: Platform,
) -> None:
    answer = await platform.call("echo", {})
    details = assert_problem(answer, 409, "secret_missing")["details"]
    assert (details["secret"], details["tool"], details["argument"]) == ("KEY", "echo", "api_key")
    assert b"secret_missing" in (await platform.fast("echo", {})).content
    for path in ("/mcp", "/mcp/servers/keyed"):
        for era in ("auto", "legacy"):
            async with platform.client(path, era) as client:
                name = "keyed.echo" if path == "/mcp" else "echo"
                result = await client.call_tool(name, {})
                assert result.is_error
                assert "secret_missing" in str(result.content)
    assert platform.keyed.calls == []
    # What a call in a session set aside is given back a moment later.
    async with asyncio.timeout(20):
        while await platform.spent() != (0, 0):
            await asyncio.sleep(0.01)
    assert (await platform.call("open", {})).status_code == 200
    await platform.set()
    assert (await platform.call("echo", {})).status_code == 200
    await assert_balanced(platform.world.database)


async def test_another_users_calls_do_not_carry_it(platform: Platform) -> None:
    await platform.set()
    await platform.call("echo", {})
    answer = await platform.call("echo", {}, headers=dict(platform.world.bob.headers))
    assert_problem(answer, 409, "secret_missing")
    assert len(platform.keyed.calls) == 1
