"""One migrated database for all tests here: each brings users of its own."""

from collections.abc import AsyncIterator, Iterator

import pytest

from app.kernel.db import Database
from app.kernel.embedded import Hub
from tests.migrated import migrated_database


@pytest.fixture(scope="module")
def shared(hub: Hub) -> Iterator[str]:
    """The name of the database."""
    with migrated_database(hub) as name:
        yield name


@pytest.fixture
def backend_dsn(hub: Hub, shared: str) -> str:
    """How the application reaches it: a login without rights of its own."""
    return hub.dsn("app_backend", shared)


@pytest.fixture
async def db(backend_dsn: str) -> AsyncIterator[Database]:
    """The database as the application opens it."""
    opened = Database(backend_dsn, pool_size=2)
    yield opened
    await opened.close()


@pytest.fixture
async def superuser(hub: Hub, shared: str) -> AsyncIterator[Database]:
    """The database as its superuser opens it, to plant what must not be."""
    opened = Database(hub.dsn(hub.superuser, shared), pool_size=1)
    yield opened
    await opened.close()
