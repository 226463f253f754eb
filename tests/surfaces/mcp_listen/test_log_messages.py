"""Log messages of a run: asked for by request in the modern era, by session before it."""

from typing import Any

import mcp_types as types
import pytest

from tests.surfaces.mcp_listen.clients import connected, set_level
from tests.surfaces.test_mcp import Era, refused
from tests.surfaces.world import World

pytestmark = pytest.mark.anyio
FAILING = {"template": "echo", "input": {"text": "fail"}, "wait": True}


async def _logged(
    url: str, world: World, era: Era, level: types.LoggingLevel | None
) -> list[types.LoggingMessageNotificationParams]:
    came: list[types.LoggingMessageNotificationParams] = []

    async def keep(params: types.LoggingMessageNotificationParams) -> None:
        came.append(params)

    asked: Any = {"log_level": level} if era == "auto" else {}
    async with connected(url, world.alice, era, logging_callback=keep, **asked) as client:
        if era == "legacy" and level is not None:
            await set_level(client, level)
        await refused(client, "bio_agent.run_task", **FAILING)
    return came


async def test_the_modern_era_asks_with_the_request(url: str, world: World) -> None:
    assert await _logged(url, world, "auto", None) == []
    assert [one.level for one in await _logged(url, world, "auto", "error")] == ["error"]
    told = await _logged(url, world, "auto", "info")
    assert [one.data["kind"] for one in told][-1] == "job.failed"
    assert {one.level for one in told} == {"info", "error"}
    assert {one.logger for one in told} == {"uaol.job"}


async def test_the_handshake_era_asks_for_the_session(url: str, world: World) -> None:
    assert [one.level for one in await _logged(url, world, "legacy", None)] == ["error"]
    assert await _logged(url, world, "legacy", "critical") == []
    assert len(await _logged(url, world, "legacy", "debug")) > 2
