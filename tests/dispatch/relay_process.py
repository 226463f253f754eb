"""A relay in a process of its own that dies by SIGKILL around the moment it publishes."""

import asyncio
import contextlib
import multiprocessing
import os
import signal
from typing import TYPE_CHECKING, Any

from app.kernel.db import Database
from app.kernel.errors import AppError
from app.kernel.wakeups import Wakeups
from app.orchestration.dispatch.broker import Broker, BrokerError
from app.orchestration.dispatch.relay import Relay

if TYPE_CHECKING:
    from tests.dispatch.conftest import Crew


class _Deadly(Broker):
    def __init__(self, url: str, prefix: str, moment: str) -> None:
        super().__init__(url, prefix)
        self._moment = moment

    async def publish(self, batches: Any) -> None:
        if self._moment == "after":
            await super().publish(batches)
        os.kill(os.getpid(), signal.SIGKILL)


async def _relay(dsn: str, url: str, prefix: str, moment: str) -> None:
    relay = Relay(
        _Deadly(url, prefix, moment),
        Database(dsn, pool_size=1),
        Wakeups(None),
        kinds=("tool",),
        bulk_kinds=("tool",),
        name="deadly",
        again_s=5.0,
        poll_s=1.0,
    )
    while True:
        with contextlib.suppress(BrokerError, AppError):
            await relay.step()


def _main(dsn: str, url: str, prefix: str, moment: str) -> None:
    asyncio.run(_relay(dsn, url, prefix, moment))


def killed_relay(crew: "Crew", moment: str) -> None:
    """Run it to its end."""
    context = multiprocessing.get_context("forkserver")
    orders = (crew.bench.database.dsn, crew.url, crew.prefix, moment)
    process = context.Process(target=_main, args=orders, daemon=True)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL, process.exitcode
