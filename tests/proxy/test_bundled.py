from pathlib import Path

import pytest

from app.proxy.backends import SupervisedBackend
from app.registry import load_config
from tests.proxy.harness import running

pytestmark = pytest.mark.anyio

CONFIG = Path(__file__).parents[2] / "mcp_config.yaml"


async def test_every_bundled_server_starts_and_every_priced_tool_exists(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # They load much, all at once, and where others work they take their time.
    monkeypatch.setitem(SupervisedBackend.__init__.__kwdefaults__, "start_limit_s", 100.0)
    servers = load_config(CONFIG, {}).servers
    async with running(*servers) as world:
        listings = await world.proxy.listings()
        assert all(item.is_up for item in world.proxy.health())
    for listing in listings:
        names = {item.name for item in listing.definitions}
        assert set(listing.server.prices.by_tool) <= names
        assert all(listing.server.prices.of(name) > 0 for name in names)
