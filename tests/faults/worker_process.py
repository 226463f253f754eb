"""A worker in a process of its own, which the test may kill, or which kills itself.

Processes are forked from a server that has imported the platform once: a worker is there in
milliseconds, and is as real as one that was started from a shell.
"""

import asyncio
import logging
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from app.agents import Templates
from app.kernel.settings import Settings
from app.registry import ServerConfig, load_config
from app.surfaces.services import Services
from app.wiring import HubAddress, build
from tests.faults.tiny import NAME, Tiny
from tests.faults.traps import Trap, trapped_worker

POINT = "UAOL_TEST_POINT"
SIGNAL = "UAOL_TEST_SIGNAL"


@dataclass(frozen=True)
class Orders:
    """What a worker process is told. Its traps come through its environment."""

    dsn: str
    settings: Mapping[str, Any]
    template: str = NAME
    environment: Mapping[str, str] = field(default_factory=dict)


def settings_of(dsn: str, home: Path, **changes: Any) -> dict[str, Any]:
    """Settings of a test's platform: everything quick."""
    quick = {"poll_seconds": 0.1, "backoff_seconds": 0.01, "db_pool_size": 3, "max_attempts": 10}
    config = {"mcp_config": Path(__file__).parents[2] / "mcp_config.yaml"}
    return {"DATABASE_URL": dsn, "home": home, **config, **quick, **changes}


@asynccontextmanager
async def open_services(
    settings: Settings, dsn: str, servers: Sequence[ServerConfig] = ()
) -> AsyncIterator[Services]:
    """The platform's modules with these tool servers; the sandbox is not started."""
    services = build(settings, HubAddress(dsn, dsn, is_embedded=False), servers, has_worker=False)
    await services.wakeups.start()
    try:
        await services.proxy.start()
        yield services
    finally:
        await services.proxy.close()
        await services.wakeups.close()
        await services.database.close()


async def _work(orders: Orders) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    settings = Settings(**orders.settings)
    trap = Trap(os.environ.get(POINT), int(os.environ.get(SIGNAL, signal.SIGKILL)))
    templates = Templates([Tiny(settings.home / "steps").template(), *Templates().all()])
    needs_tools = orders.template != NAME
    servers = load_config(settings.mcp_config).servers if needs_tools else ()
    async with open_services(settings, orders.dsn, servers) as services:
        if needs_tools:
            await services.sandbox.start()
        task = asyncio.create_task(
            trapped_worker(services, templates.get(orders.template), trap).run()
        )
        await stop.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await services.sandbox.close()


def main(orders: Orders) -> None:
    """The process: works until SIGTERM."""
    os.environ.update(orders.environment)
    logging.basicConfig(level=logging.WARNING)
    asyncio.run(_work(orders))


def start(orders: Orders) -> BaseProcess:
    """Start a worker process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["app.wiring", "app.agents.graph", __name__])
    process = context.Process(target=main, args=(orders,), daemon=True)
    process.start()
    return process
