"""Serves an ASGI application of the tests on a socket of this process, or keeps a port silent."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal

import uvicorn


@contextlib.contextmanager
def port_of_nobody() -> Iterator[int]:
    """A port where nobody answers: it is taken, so that nobody else gets it meanwhile."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield int(taken.getsockname()[1])


@contextlib.asynccontextmanager
async def serving(
    app: Any, sock: socket.socket, lifespan: Literal["on", "off"] = "off"
) -> AsyncIterator[None]:
    # Nobody is hung up on while the machine is busy: a client may be about to ask again.
    config = uvicorn.Config(
        app, log_level="critical", lifespan=lifespan, ws="none", timeout_keep_alive=600
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    config.load()
    task = asyncio.create_task(server._serve([sock]))
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield
    finally:
        server.should_exit = server.force_exit = True
        await task
