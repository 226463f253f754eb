"""The backends of registered servers, which come and go while the process runs."""

import asyncio
import logging
from collections.abc import Callable, MutableMapping, Sequence
from contextvars import Context
from typing import Any

from app.kernel.errors import AppError
from app.proxy.backends import SupervisedBackend, ToolBackend
from app.proxy.faults import server_down
from app.registry import ServerConfig, ToolDefinition

Connect = Callable[[ServerConfig], ToolBackend]
_log = logging.getLogger(__name__)


class Fleet:
    """Starts and stops backends in `backends`, a mapping that configured servers share.

    `connect` makes a backend; a configured server's is never touched.
    """

    def __init__(self, backends: MutableMapping[str, ToolBackend], connect: Connect) -> None:
        self._backends = backends
        self._fixed = frozenset(backends)
        self._connect = connect
        self._tasks: set[asyncio.Task[Any]] = set()

    def sync(self, servers: Sequence[ServerConfig]) -> None:
        """Make the registered backends exactly these; needs a running loop and returns at once.

        One whose address changed is replaced; prices and limits need no new connection.
        """
        wanted = {server.name: server for server in servers}
        for name in wanted.keys() & self._fixed:
            _log.warning("%s is configured: the registered server of that name is ignored", name)
            del wanted[name]
        for name in [name for name in self._backends if name not in self._fixed]:
            if not _is_same(self._backends[name].server, wanted.get(name)):
                self._run(self._backends.pop(name).close(), f"close-{name}")
        for name in wanted.keys() - self._backends.keys():
            try:
                backend = self._backends[name] = self._connect(wanted[name])
            # Of all servers a broken one must cost the others nothing.
            except Exception as error:  # noqa: BLE001
                _log.exception("%s cannot be connected", name, exc_info=error)
                continue
            self._run(backend.start(), f"start-{name}")

    def recheck(self) -> None:
        """List every registered server again: whether it answers, and with the same tools."""
        for name, backend in self._backends.items():
            if name not in self._fixed and isinstance(backend, SupervisedBackend):
                backend.recheck()

    def _run(self, work: Any, name: str) -> None:
        # A backend outlives the request that began it, whose id and listeners are not its own.
        task = asyncio.create_task(work, name=name, context=Context())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Wait for what is being stopped; the backends in use are closed by whoever owns them."""
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _is_same(server: ServerConfig, wanted: ServerConfig | None) -> bool:
    return wanted is not None and _address(server) == _address(wanted)


def _address(server: ServerConfig) -> tuple[Any, ...]:
    return (
        server.url,
        dict(server.headers),
        server.transport,
        server.era,
        server.tools,
        server.secrets,
        server.secret_arguments,
        server.oauth,
    )


async def inspect(backend: ToolBackend) -> Sequence[ToolDefinition]:
    """What a server offers now, over a connection that is closed again.

    Raises `tool_server_down` or `tool_protocol_error` for a server that cannot be listed.
    """
    try:
        await backend.start()
        health = backend.health()
        if not health.is_up:
            reason = health.error or "cannot be reached"
            prefix = f"The tool server {backend.server.name} "
            raise server_down(backend.server.name, reason.removeprefix(prefix).rstrip("."))
        return await backend.list_tools()
    finally:
        await _quietly(backend)


async def _quietly(backend: ToolBackend) -> None:
    try:
        await backend.close()
    except AppError as error:
        _log.info("%s was not closed in order: %s", backend.server.name, error.message)
