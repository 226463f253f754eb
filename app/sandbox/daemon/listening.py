"""Where the daemon listens, and what ends it."""

import asyncio
import contextlib
import os
import signal
import socket
import stat
from collections.abc import AsyncIterator
from pathlib import Path

from app.kernel.errors import AppError, Code
from app.sandbox.daemon.service import Daemon
from app.sandbox.wire import Address

# Its owner and its group: the container that asks has the same group, and nobody else does.
_SOCKET_UMASK = 0o117
_BACKLOG = 1024


@contextlib.asynccontextmanager
async def listening(daemon: Daemon, address: Address) -> AsyncIterator[Address]:
    """Serve at `address` (port 0 takes a free one); the address that it became.

    Raises AppError(CONFIG_INVALID) where that is impossible.
    """
    sock = _bound(address)
    server = await asyncio.start_server(daemon.connected, sock=sock, backlog=_BACKLOG)
    try:
        if address.path:
            yield address
        else:
            yield Address(host=address.host, port=sock.getsockname()[1])
    finally:
        server.close()
        await daemon.close()
        if address.path:
            Path(address.path).unlink(missing_ok=True)


async def stopped() -> None:
    """Return when the process is told to end."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, stop.set)
    await stop.wait()


def _bound(address: Address) -> socket.socket:
    try:
        return _bound_path(address.path) if address.path else _bound_port(address)
    except OSError as error:
        raise AppError(
            Code.CONFIG_INVALID,
            f"sandboxd cannot listen at {address}: {error.strerror}.",
            hint="Set UAOL_SANDBOX_DAEMON to an address that is free and may be used.",
        ) from error


def _bound_path(path: str) -> socket.socket:
    _clear(path)
    sock = socket.socket(socket.AF_UNIX)
    before = os.umask(_SOCKET_UMASK)
    try:
        sock.bind(path)
    finally:
        os.umask(before)
    return sock


def _bound_port(address: Address) -> socket.socket:
    family, *_, place = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
    sock = socket.socket(family)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(place)
    return sock


def _clear(path: str) -> None:
    """Remove the socket of a daemon that has died. Raises OSError where one lives."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(Path(path).lstat().st_mode):
            return  # to bind will say what is wrong
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(path) == 0:
                raise OSError(98, "another one listens there")
        Path(path).unlink()
