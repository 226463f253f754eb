"""Where the database is: the configured one, or one of our own, started and migrated."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from app.kernel.db import Database
from app.kernel.embedded import EmbeddedHub, bootstrap
from app.kernel.errors import AppError, Code
from app.kernel.migrate import is_current, upgrade
from app.kernel.settings import Settings

_OWNER = "uaol_owner"
_BACKEND = "app_backend"
Progress = Callable[[str], None]


def silent(_message: str) -> None:
    """Tell nobody how far it is."""


@dataclass(frozen=True, slots=True)
class HubAddress:
    """Where the database is: the application's login and the owner's, who migrates."""

    app_dsn: str
    owner_dsn: str
    is_embedded: bool


@asynccontextmanager
async def open_hub(settings: Settings, progress: Progress = silent) -> AsyncIterator[HubAddress]:
    """The configured PostgreSQL, or the embedded one, started and migrated."""
    if settings.database_url is not None:
        url = settings.database_url.get_secret_value()
        yield HubAddress(url, url, is_embedded=False)
        return
    hub = EmbeddedHub(
        settings.home,
        version=settings.postgres_version,
        tcp_port=settings.postgres_tcp_port,
        settings={"shared_buffers": settings.postgres_shared_buffers},
    )
    progress("Starting PostgreSQL")
    running = await asyncio.to_thread(hub.start)
    try:
        address = HubAddress(running.dsn(_BACKEND), running.dsn(_OWNER), is_embedded=True)
        progress("Preparing the database")
        await asyncio.to_thread(bootstrap, running.dsn(running.superuser))
        await asyncio.to_thread(upgrade, address.owner_dsn)
        yield address
    finally:
        await asyncio.to_thread(hub.stop)


async def require_current(address: HubAddress) -> None:
    """Raise unless the database is at the newest revision (a hub of one's own migrates itself)."""
    if address.is_embedded or await asyncio.to_thread(is_current, address.app_dsn):
        return
    raise AppError(
        Code.HUB_UNAVAILABLE,
        "The database is not at the newest revision.",
        hint="Run `uaol migrate` with the same DATABASE_URL.",
    )


def make_database(settings: Settings, address: HubAddress) -> Database:
    """The pool; a pooler before a database of the operator's may forget prepared statements."""
    size, is_prepared = settings.db_pool_size, address.is_embedded
    return Database(address.app_dsn, pool_size=size, is_prepared=is_prepared)
