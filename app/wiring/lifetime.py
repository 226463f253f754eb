"""All modules over an open database, started, and stopped in the reverse order."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from app.kernel.egress import GuardedTransport
from app.kernel.settings import Settings
from app.proxy import Follower
from app.registry import load_config
from app.surfaces.services import Services
from app.wiring.building import build
from app.wiring.catalogue import publish_templates, retire_servers
from app.wiring.hub import Progress, open_hub, require_current, silent
from app.wiring.upkeep import make_keeper, tend
from app.wiring.webhooks import make_deliverer

_BUNDLED_CONFIG = Path(__file__).parents[2] / "mcp_config.yaml"


def _config_path(settings: Settings) -> Path:
    """The configured file; where none was named and there is none here, the bundled servers'."""
    path = settings.mcp_config
    is_default = path == type(settings).model_fields["mcp_config"].default
    return _BUNDLED_CONFIG if is_default and not path.exists() else path


@asynccontextmanager
async def opened(
    settings: Settings, progress: Progress = silent, *, has_worker: bool = False
) -> AsyncIterator[Services]:
    """All modules over an open database, none of them started: enough to manage keys and tools."""
    async with open_hub(settings, progress) as address:
        await require_current(address)
        servers = load_config(_config_path(settings)).servers
        services = build(settings, address, servers, has_worker=has_worker)
        try:
            yield services
        finally:
            await services.database.close()


@asynccontextmanager
async def running(
    settings: Settings, progress: Progress = silent, *, has_worker: bool = True
) -> AsyncIterator[Services]:
    """All modules, started; stopped in the reverse order at the end."""
    async with contextlib.AsyncExitStack() as stack:
        services = await stack.enter_async_context(
            opened(settings, progress, has_worker=has_worker)
        )
        await services.wakeups.start()
        stack.push_async_callback(services.wakeups.close)
        stack.push_async_callback(services.proxy.limiter.close)
        progress("Testing the sandbox")
        await services.sandbox.start()
        stack.push_async_callback(services.sandbox.close)
        stack.push_async_callback(services.close_clients)
        progress("Starting the tool servers")
        await services.proxy.start()
        await retire_servers(services)
        await publish_templates(services)
        follower = Follower(services.database, services.wakeups, services.registry, services.proxy)
        await follower.run_once()
        tasks = [
            asyncio.create_task(tend(services), name="upkeep"),
            asyncio.create_task(follower.run(), name="registry"),
        ]
        if services.limits is not None:
            keeper = make_keeper(services, services.limits)
            tasks.append(asyncio.create_task(keeper.run(), name="limits"))
        transport = GuardedTransport(allow_private=settings.webhook_allow_private)
        stack.push_async_callback(transport.aclose)
        deliverer = make_deliverer(services, transport)
        tasks.append(asyncio.create_task(deliverer.run(), name="webhooks"))
        if services.worker is not None:
            tasks.append(asyncio.create_task(services.worker.run(), name="worker"))
        stack.push_async_callback(_stop, tasks)
        yield services


async def _stop(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
