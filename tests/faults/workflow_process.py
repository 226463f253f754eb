"""A worker process for workflows that kills itself between two statements of its lane."""

import asyncio
import logging
import multiprocessing
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, cast

from tests.faults.crew import CrewTools, open_bench
from tests.faults.failpoints import Failpoints, die
from tests.faults.history import Diary
from tests.orchestration.workflow.running.harness import Tools, worker_of


@dataclass(frozen=True)
class Orders:
    """What the process is told; it dies at the point number `dies_at` of its lane."""

    dsn: str
    home: Path
    dies_at: int
    settings: Mapping[str, Any] = field(default_factory=dict)


async def _work(orders: Orders) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with open_bench(orders.dsn, orders.home, **orders.settings) as bench:
        tools = cast(Tools, CrewTools(diary=Diary(orders.home / "history")))
        points = Failpoints(bench.database, orders.dies_at, die)
        task = asyncio.create_task(worker_of(bench, tools, transactions=points).run())
        await stop.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def main(orders: Orders) -> None:
    """The process: works until SIGTERM, or its point."""
    logging.basicConfig(level=logging.ERROR)
    asyncio.run(_work(orders))


def start(orders: Orders) -> BaseProcess:
    """Start the process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["app.wiring", "app.agents.graph", __name__])
    process = context.Process(target=main, args=(orders,), daemon=True)
    process.start()
    return process
