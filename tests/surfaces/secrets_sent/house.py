"""The platform over one server that wants a secret, and everything in which the secret may show."""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from io import StringIO
from typing import Any

import httpx2
import orjson
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from app.kernel.clock import SystemClock
from app.kernel.principal import SERVICE
from app.kernel.ratelimit import Limiter
from app.kernel.settings import Settings
from app.kernel.telemetry import JsonFormatter
from app.main import create_app
from app.proxy import ToolProxy
from app.registry import ServerConfig
from app.surfaces.listening import bind, listening
from app.surfaces.safe import finder, open_safe
from app.surfaces.services import Services
from app.wiring import catalogue
from tests.books import assert_balanced
from tests.surfaces.conftest import _no_file
from tests.surfaces.fastpath.conftest import META
from tests.surfaces.secrets_sent.upstream import CANARY, FORMS
from tests.surfaces.world import World


@dataclass
class House:
    """The platform whose one server has the name `name`; `log` is what it logged."""

    world: World
    services: Services
    name: str
    url: str
    http: httpx2.AsyncClient
    log: StringIO

    async def set(self, secret: str, value: str = CANARY) -> None:
        body = {"value": value, "servers": [self.name]}
        answer = await self.http.put(f"/v1/secrets/{secret}", json=body)
        assert answer.status_code == 200, answer.text

    async def call(
        self, tool: str = "echo", arguments: dict[str, Any] | None = None, **keys: Any
    ) -> httpx2.Response:
        path = f"/v1/tools/{self.name}.{tool}/call"
        return await self.http.post(path, json={"arguments": arguments or {}}, **keys)

    async def fast(
        self, tool: str = "echo", arguments: dict[str, Any] | None = None
    ) -> httpx2.Response:
        name = f"{self.name}.{tool}"
        params = {"name": name, "arguments": arguments or {}, "_meta": META}
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        headers = {
            "accept": "application/json, text/event-stream",
            "content-type": "application/json",
            "mcp-protocol-version": "2026-07-28",
            "mcp-method": "tools/call",
            "mcp-name": name,
        }
        return await self.http.post("/mcp", content=orjson.dumps(body), headers=headers)

    @asynccontextmanager
    async def client(self, path: str, era: str) -> AsyncIterator[Client]:
        headers = dict(self.world.alice.headers)
        async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
            streams = streamable_http_client(f"{self.url}{path}", http_client=http)
            async with Client(streams, mode=era, cache=None) as client:
                yield client

    async def spent(self) -> tuple[int, int]:
        """Credits of alice's that were captured, and that are held."""
        async with self.world.database.begin(self.world.alice.principal) as uow:
            wallet = await self.services.billing.wallet(uow, self.world.alice.user_id)
        return wallet.captured_micro, wallet.held_micro

    async def assert_nothing_spent(self) -> None:
        """What a call in a session set aside is given back a moment later."""
        async with asyncio.timeout(60):
            while await self.spent() != (0, 0):
                await asyncio.sleep(0.01)
        await assert_balanced(self.world.database)

    async def stored(self) -> str:
        """All rows of all tables, but for what is sealed."""
        sql = """
        select tablename from pg_tables
        where schemaname = 'app' and has_table_privilege('app.' || tablename, 'select')
        """
        async with self.world.database.begin(SERVICE) as uow:
            names = (await uow.execute(sql)).scalars().all()
            assert {"vault_sealed", "processing_jobs"} <= set(names)
            rows = [await uow.execute(f"select * from app.{name}") for name in names]
            return str([[dict(row) for row in found.mappings()] for found in rows])

    async def assert_silent(self, *said: object) -> None:
        """The canary is in nothing that was said, stored or logged."""
        for heard in (*map(str, said), self.log.getvalue(), await self.stored()):
            for form in FORMS:
                assert form not in heard


@contextmanager
def _logged() -> Iterator[StringIO]:
    """All that is logged, to the last detail."""
    log = StringIO()
    handler = logging.StreamHandler(log)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.addHandler(handler)
    before, root.level = root.level, logging.DEBUG
    try:
        yield log
    finally:
        root.removeHandler(handler)
        root.level = before


@asynccontextmanager
async def opened(
    world: World, settings: Settings, server: ServerConfig, door: socket.socket | None = None
) -> AsyncIterator[House]:
    """The platform with that server and a safe, behind a door of its own."""
    base, clock = world.services, SystemClock()
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
    services = replace(base, proxy=proxy, safe=safe, settings=settings)
    with _logged() as log:
        await proxy.start()
        headers = dict(world.alice.headers)
        async with (
            listening(create_app(services), settings, door or bind("127.0.0.1", 0)) as url,
            httpx2.AsyncClient(base_url=url, headers=headers, timeout=30, trust_env=False) as http,
        ):
            yield House(world, services, server.name, url, http, log)
        await proxy.close()
        await safe.web.close()
