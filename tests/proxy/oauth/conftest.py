"""Connections over real servers on the loopback, a real vault and a real database."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import httpx2
import pytest

from app.auth import Auth
from app.kernel.db import Database
from app.kernel.principal import SERVICE, Principal
from app.kernel.wakeups import Wakeups
from app.proxy.credentials import RemoteServer, ServerCredentials
from app.proxy.oauth import Identity, OAuthConnections, OAuthFlows, Web
from app.registry import UpstreamOAuth
from app.vault import LocalKeys, SecretKeeper, Vault
from tests.manual_clock import ManualClock
from tests.proxy.oauth.servers import AuthServer, McpServer, serving

HOME = "https://uaol.example"
SLUG = "notes"


@dataclass
class Process:
    """What one process of the platform has."""

    keeper: SecretKeeper
    connections: OAuthConnections
    flows: OAuthFlows
    credentials: ServerCredentials
    web: Web


@dataclass
class Connected:
    """Two processes of the platform, a server, and two users."""

    server: McpServer
    database: Database
    clock: ManualClock
    here: Process
    there: Process
    alice: Principal
    bob: Principal
    upstreams: dict[str, RemoteServer] = field(default_factory=dict)

    @property
    def auth(self) -> AuthServer:
        return self.server.auth

    async def visit(self, url: str) -> dict[str, str]:
        """What the browser brings back from the authorization server."""
        async with httpx2.AsyncClient(trust_env=False, timeout=60) as browser:
            answer = await browser.get(url)
        assert answer.status_code == 302, answer.text
        return dict(parse_qsl(urlsplit(answer.headers["location"]).query))

    async def connect(self, principal: Principal | None = None) -> None:
        """The whole way of a user through the browser."""
        flows = self.here.flows
        consent = await flows.begin(principal or self.alice, SLUG)
        url = await flows.approve(SLUG, consent.flow_id, consent.browser)
        assert await flows.finish(await self.visit(url), consent.browser) == SLUG

    async def header(self, principal: Principal | None = None) -> str:
        """The Authorization header that a call of the user takes along."""
        headers = await self.here.credentials.headers(principal or self.alice, SLUG)
        return headers["Authorization"]


@pytest.fixture
async def world(database: Database, tmp_path: Path) -> AsyncIterator[Connected]:
    clock, wakeups = ManualClock(), Wakeups(None)
    auth = Auth(clock)
    async with database.begin(SERVICE) as uow:
        people = [
            Principal("user", (await auth.ensure_user(uow, f"{name}@example.org")).user_id)
            for name in ("alice", "bob")
        ]
    async with serving() as server:
        upstreams = {SLUG: RemoteServer(SLUG, server.url, oauth=UpstreamOAuth())}
        processes = [
            _process(database, clock, each, tmp_path, upstreams)
            for each in (wakeups, Wakeups(None))
        ]
        yield Connected(server, database, clock, *processes, *people, upstreams)
        for process in processes:
            await process.web.close()


def _process(
    database: Database,
    clock: ManualClock,
    wakeups: Wakeups,
    folder: Path,
    upstreams: dict[str, RemoteServer],
) -> Process:
    keeper = SecretKeeper(Vault(LocalKeys(folder / "keys"), clock, wakeups), database)
    web = Web(allow_private=True, timeout_s=60)
    find = upstreams.get
    connections = OAuthConnections(
        keeper, database, wakeups, clock, web, lambda slug: f"{HOME}/v1/oauth/connect/{slug}"
    )
    # The authorization server of the tests cannot fetch a document from there, so it registers.
    identity = Identity(None, f"{HOME}/v1/oauth/callback")
    flows = OAuthFlows(find, keeper, database, clock, web, identity)
    credentials = ServerCredentials(find, keeper, wakeups, clock, connections)
    return Process(keeper, connections, flows, credentials, web)
