"""One platform, one Node and one everything-server for each test process."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.kernel.embedded import Hub
from tests.conformance import platform as conformance
from tests.conformance.node.install import NODE, InstallError, installed
from tests.conformance.node.runtime import Node
from tests.conformance.platform import Platform
from tests.conftest import cannot_run


@pytest.fixture(scope="session")
async def node(anyio_backend: str) -> Node:
    """Node with the suite, the Inspector and the TypeScript client."""
    try:
        return Node(NODE, await asyncio.to_thread(installed))
    except InstallError as error:
        cannot_run(f"npm packages are neither here nor to be had: {error}")
        raise


@pytest.fixture(scope="session")
async def platform(
    anyio_backend: str, hub: Hub, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Platform]:
    """The platform with the everything-server registered."""
    folder: Path = tmp_path_factory.mktemp("conformance")
    async with conformance.platform(hub, folder) as running:
        yield running
