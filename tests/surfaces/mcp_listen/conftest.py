"""The doors with wake-ups that go through the database, and a second process beside them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.kernel.settings import Settings
from app.kernel.wakeups import Wakeups
from tests.surfaces.mcp_listen.front import serving


@pytest.fixture
async def wakeups(dsn: str) -> AsyncIterator[Wakeups]:
    """Those of the first process."""
    shared = Wakeups(dsn)
    await shared.start()
    yield shared
    await shared.close()


@pytest.fixture
async def elsewhere(dsn: str, settings: Settings) -> AsyncIterator[str]:
    """The address of a second process over the same database and home folder."""
    home: Path = settings.home
    context = serving(dsn, home)
    address = await asyncio.to_thread(context.__enter__)
    yield address
    await asyncio.to_thread(context.__exit__, None, None, None)
