"""Progress of what a caller waits for, and what it means to wait no longer."""

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from app.kernel.clock import SystemClock
from app.kernel.principal import SERVICE
from app.kernel.ratelimit import Limiter
from app.kernel.settings import Settings
from app.main import create_app
from app.orchestration import JobEvent
from app.proxy import ToolProxy
from app.registry import Prices, ServerConfig, ToolDefinition
from app.surfaces.listening import bind, listening
from tests.books import assert_balanced
from tests.surfaces.conftest import _no_file
from tests.surfaces.flows import ECHOED
from tests.surfaces.mcp_listen.clients import connected, until
from tests.surfaces.test_mcp import Era, call, era
from tests.surfaces.world import TOOL_PRICE, World

__all__ = ["era"]
pytestmark = pytest.mark.anyio
PATIENT = ServerConfig(
    name="patient",
    command=(sys.executable, str(Path(__file__).parent / "servers" / "patient.py")),
    prices=Prices(TOOL_PRICE),
)


@pytest.fixture
async def real_url(world: World, settings: Settings) -> AsyncIterator[str]:
    """The address of the platform with a real tool server behind it."""
    services = world.services

    async def listed(server: ServerConfig, definitions: Sequence[ToolDefinition]) -> None:
        async with services.database.begin(SERVICE) as uow:
            await services.registry.pin(uow, server, definitions)
            await services.registry.refresh(uow)
            for each in definitions:
                await services.billing.publish_price(uow, "tool", each.full_name, TOOL_PRICE)

    proxy = ToolProxy(
        services.registry,
        Limiter(SystemClock()),
        settings,
        _no_file,
        [],
        SystemClock(),
        servers=[PATIENT],
        on_listed=listed,
    )
    await proxy.start()
    app = create_app(replace(services, proxy=proxy))
    try:
        async with listening(app, settings, bind("127.0.0.1", 0)) as address:
            yield address
    finally:
        await proxy.close()


class Progress:
    """Keeps what a caller was told."""

    def __init__(self) -> None:
        self.told: list[tuple[float, float | None, str | None]] = []

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        self.told.append((progress, total, message))

    @property
    def is_rising(self) -> bool:
        numbers = [done for done, _, _ in self.told]
        return numbers == sorted(set(numbers))


async def test_a_proxied_tool_tells_how_far_it_is(real_url: str, world: World, era: Era) -> None:
    progress = Progress()
    async with connected(real_url, world.alice, era) as client:
        result = await client.call_tool("patient.count", {}, progress_callback=progress)
        assert result.structured_content == {"said": "done"}
        silent = await client.call_tool("patient.count", {})
        assert silent.structured_content == {"said": "done"}
    # What goes back is not passed on: progress must grow.
    assert progress.told == [(1.0, 4.0, "at 1"), (3.0, 4.0, "at 3"), (4.0, 4.0, "at 4")]


async def test_a_workflow_tells_its_trace(url: str, world: World, era: Era) -> None:
    progress = Progress()
    async with connected(url, world.alice, era) as client:
        arguments = {"workflow": ECHOED, "input": {"word": "a"}, "wait": True}
        await client.call_tool("workflow.run", arguments, progress_callback=progress)
    assert progress.is_rising
    assert progress.told[-1][2] == "job succeeded"
    assert len(progress.told) >= 4


async def test_a_call_that_is_given_up_ends_upstream_and_costs_nothing(
    real_url: str, world: World, era: Era, tmp_path: Path
) -> None:
    async with connected(real_url, world.alice, era) as client:
        before = await call(client, "billing.get_wallet")
        calling = asyncio.create_task(client.call_tool("patient.hang", {"folder": str(tmp_path)}))
        await until((tmp_path / "started").exists)
        calling.cancel()
        await asyncio.wait({calling})
        await until((tmp_path / "cancelled").exists)
        async with asyncio.timeout(20):
            while await call(client, "billing.get_wallet") != before:
                await asyncio.sleep(0.01)
    await assert_balanced(world.database)


async def test_waiting_no_longer_does_not_stop_a_paid_run(
    url: str, world: World, era: Era, monkeypatch: pytest.MonkeyPatch
) -> None:
    progress, jobs, has_stopped = Progress(), world.services.jobs, asyncio.Event()
    follow = jobs.follow

    async def watched(*given: Any) -> AsyncIterator[JobEvent]:
        try:
            async for event in follow(*given):
                yield event
        finally:
            has_stopped.set()

    monkeypatch.setattr(jobs, "follow", watched)
    arguments = {"template": "echo", "input": {"text": "wait"}, "wait": True}
    async with connected(url, world.alice, era) as client:
        waiting: asyncio.Task[Any] = asyncio.create_task(
            client.call_tool("bio_agent.run_task", arguments, progress_callback=progress)
        )
        await until(lambda: progress.told)
        with anyio.CancelScope(shield=True):
            waiting.cancel()
            await asyncio.wait({waiting})
        # The server follows the run no more, and the run goes on.
        async with asyncio.timeout(20):
            await has_stopped.wait()
        world.task.go.set()
        listed = [str(one.uri) for one in (await client.list_resources()).resources]
        job_id = next(uri for uri in listed if uri.endswith("/trace")).split("/")[3]
        trace = await call(client, "bio_agent.stream_trace", job_id=job_id)
    assert trace["events"][-1]["kind"] == "job.succeeded"
    await assert_balanced(world.database)
