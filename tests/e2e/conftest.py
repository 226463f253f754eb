"""One real server for the whole test run, shared by all test processes."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import httpx2
import pytest

from app.wiring import opened
from tests.conftest import cannot_run
from tests.e2e import platform as e2e
from tests.e2e.platform import Doors, Finished, Person, Platform


@pytest.fixture(scope="session")
def platform() -> Iterator[Platform]:
    """`uaol serve`, running."""
    with e2e.attached(e2e.shared_folder()) as running:
        yield running


@pytest.fixture(scope="session")
async def services(platform: Platform) -> AsyncIterator[Any]:
    """The modules over the server's own database, to make users and to read the books."""
    async with opened(platform.settings) as modules:
        yield modules


@pytest.fixture
async def sandboxed(platform: Platform) -> None:
    """Only where code can be isolated."""
    async with httpx2.AsyncClient(base_url=platform.url, timeout=60) as http:
        health = (await http.get("/healthz")).json()
    if not health["sandbox"]["is_up"]:
        cannot_run("the sandbox does not work on this machine; `uaol doctor` says why")


@pytest.fixture
async def alice(services: Any) -> Person:
    return await e2e.newcomer(services)


@pytest.fixture
async def bob(services: Any) -> Person:
    return await e2e.newcomer(services)


@pytest.fixture
async def pauper(services: Any) -> Person:
    """A user without credits."""
    return await e2e.newcomer(services, credits_micro=0)


@pytest.fixture
async def way(platform: Platform, alice: Person) -> AsyncIterator[Doors]:
    """Alice's doors."""
    async with e2e.doors(platform, alice) as opened_doors:
        yield opened_doors


@pytest.fixture(scope="session")
async def hbb(platform: Platform, services: Any) -> Finished:
    """The finished knockout of HBB, made once in the whole test run."""
    return await e2e.finished(platform, services)


@pytest.fixture
def books(services: Any) -> Callable[[Person], Awaitable[e2e.Books]]:
    """Reads a person's books."""

    async def read(person: Person) -> e2e.Books:
        return await e2e.books(services, person)

    return read
