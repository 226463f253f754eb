"""A whole platform on loopback with the everything-server behind it, in this process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import yaml

from app.billing import to_micro
from app.kernel.embedded import Hub, bootstrap
from app.kernel.migrate import upgrade
from app.kernel.principal import SERVICE, USER_SCOPES
from app.kernel.settings import Settings
from app.main import create_app
from app.surfaces.listening import bind, listening
from app.wiring import running
from tests.conformance.everything.server import make_app
from tests.conformance.everything.tools import TOOLS
from tests.conformance.front import KEYED, PLAIN, Front

SERVER = "everything"
ORIGIN = "https://ui.example"
_CREDITS = to_micro(50)


@dataclass(frozen=True)
class Platform:
    """Where it is, and a user's key; `everything` is the fixtures' own address, `books` a DSN."""

    url: str
    key: str
    everything: str
    services: Any
    books: str

    @property
    def mcp(self) -> str:
        return f"{self.url}/mcp"

    @property
    def plain(self) -> str:
        """`/mcp`, with a key, and the fixtures under their plain names."""
        return f"{self.url}{PLAIN}/mcp"

    @property
    def through(self) -> str:
        """The fixtures' server, passed through as it is, with a key."""
        return f"{self.url}{KEYED}/mcp/servers/{SERVER}"

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}


def new_database(hub: Hub) -> str:
    """A migrated database of its own; gives its name."""
    name = f"conformance_{uuid4().hex}"
    with psycopg.connect(hub.dsn(hub.superuser, "postgres"), autocommit=True) as admin:
        admin.execute(f"create database {name}")
    bootstrap(hub.dsn(hub.superuser, name))
    upgrade(hub.dsn("uaol_owner", name))
    return name


def _settings(dsn: str, folder: Path, everything: str) -> Settings:
    config = folder / "mcp_config.yaml"
    # A price, so that whatever the suite does can be seen in the books.
    server = {"url": everything, "price": 0.001, "trusted": True}
    config.write_text(yaml.safe_dump({"mcp_servers": {SERVER: server}}))
    return Settings(
        home=folder / "home",
        database_url=dsn,
        mcp_config=config,
        port=0,
        allowed_origins=[ORIGIN],
        poll_seconds=0.05,
        # An engine is restarted by its own tests, which also count what this process has there.
        sandbox_executor="bubblewrap",
        log_level="WARNING",
    )


async def _key(services: Any) -> str:
    async with services.database.begin(SERVICE) as uow:
        user = await services.auth.ensure_user(uow, f"{uuid4().hex}@example.org")
        await services.auth.ensure_project(uow, user.user_id, "default")
        await services.billing.grant(uow, user.user_id, _CREDITS, cause=uuid4().hex)
        issued = await services.auth.issue_key(uow, user.user_id, name="it", scopes=USER_SCOPES)
    return str(issued.secret)


@asynccontextmanager
async def serving(app: Any, settings: Settings) -> AsyncIterator[str]:
    """Any ASGI application on a free port; yields its base URL."""
    async with listening(app, settings, bind("127.0.0.1", 0)) as url:
        yield url


@asynccontextmanager
async def everything_server() -> AsyncIterator[str]:
    """The fixtures' server; yields its MCP address."""
    async with serving(make_app(), Settings()) as url:
        yield f"{url}/mcp"


@asynccontextmanager
async def platform(hub: Hub, folder: Path) -> AsyncIterator[Platform]:
    """The platform, started, with one user who has credits."""
    name = await asyncio.to_thread(new_database, hub)
    async with everything_server() as everything:
        settings = _settings(hub.dsn("app_backend", name), folder, everything)
        async with running(settings) as services:
            front = Front(create_app(services), SERVER, TOOLS)
            front.key = await _key(services)
            async with serving(front, settings) as url:
                books = hub.dsn(hub.superuser, name)
                yield Platform(url, front.key, everything, services, books)
