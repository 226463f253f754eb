"""Serves an application on a socket for as long as a block runs."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI

from app.kernel.errors import AppError, Code
from app.kernel.settings import Settings
from app.surfaces.patience import PatientProtocol, watch

_BACKLOG = 2048
_GRACE_S = 5


class _Server(uvicorn.Server):
    """A server that leaves signals to whoever runs it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises `conflict` if the port is in use."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        what = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error})"
        raise AppError(
            Code.CONFLICT,
            f"Address {host}:{port} {what}.",
            hint="Set UAOL_PORT to another port, or to 0 for a free one.",
        ) from error
    sock.listen(_BACKLOG)
    return sock


def url_of(sock: socket.socket) -> str:
    """The base URL of a listening socket."""
    host, port = sock.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@asynccontextmanager
async def listening(app: FastAPI, settings: Settings, sock: socket.socket) -> AsyncIterator[str]:
    """Serve `app` on `sock` while the block runs; yields the base URL."""
    config = uvicorn.Config(
        app,
        http=PatientProtocol,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,
        proxy_headers=settings.public_url is not None,
        ws_max_size=settings.request_limit,
        # Ten thousand idle sockets would each keep a compressor.
        ws_per_message_deflate=False,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve(sockets=[sock]), name="http-server")
    while not server.started:
        if task.done():
            task.result()
            raise AppError(Code.INTERNAL, "The server ended before it had started.")
        await asyncio.sleep(0.01)
    connections = server.server_state.connections
    watching = asyncio.create_task(watch(connections, settings.stall_seconds), name="http-watch")
    try:
        yield url_of(sock)
    finally:
        watching.cancel()
        if (gateway := getattr(app.state, "gateway", None)) is not None:
            # Streams without an end would hold the server up for all of its grace.
            gateway.farewell()
        server.should_exit = True
        await task
