"""A second process that serves the same database: its clients hear of what happens in the first."""

import asyncio
import multiprocessing
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

from app.kernel.principal import SERVICE
from app.kernel.settings import Settings
from app.main import create_app
from app.surfaces.listening import bind, listening
from app.wiring import HubAddress, build


async def _serve(dsn: str, home: Path, pipe: Connection) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    settings = Settings(home=home, poll_seconds=0.05)
    services = build(settings, HubAddress(dsn, dsn, is_embedded=False), (), has_worker=False)
    await services.wakeups.start()
    async with services.database.begin(SERVICE) as uow:
        await services.registry.refresh(uow)
    async with listening(create_app(services), settings, bind("127.0.0.1", 0)) as address:
        pipe.send(address)
        await stop.wait()
    await services.wakeups.close()
    await services.database.close()


def main(dsn: str, home: Path, pipe: Connection) -> None:
    """The process: serves until SIGTERM."""
    asyncio.run(_serve(dsn, home, pipe))


@contextmanager
def serving(dsn: str, home: Path) -> Iterator[str]:
    """The address of another process over the database, for as long as the block runs."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=main, args=(dsn, home, there), daemon=True)
    process.start()
    try:
        assert here.poll(60), "the second process does not start"
        yield here.recv()
    finally:
        process.terminate()
        process.join(20)
