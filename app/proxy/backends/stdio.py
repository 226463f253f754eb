"""A tool server as a warm process of this machine."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from mcp import Client

from app.proxy.backends.base import Link
from app.proxy.backends.exchange import exchange
from app.proxy.backends.pipes import PipeTransport
from app.proxy.backends.process import ServerProcess
from app.proxy.faults import server_down
from app.proxy.types import RawResult, ToolCall
from app.registry import ServerConfig, Tool


def _client(transport: PipeTransport, link: Link) -> Client:
    return Client(transport.connect(), cache=None, message_handler=link.on_message)


class StdioConnector:
    """Starts the server's command and speaks MCP over its pipes."""

    reads_local_files = True

    def __init__(self, server: ServerConfig, *, output_limit: int) -> None:
        self.server = server
        self._output_limit = output_limit

    @asynccontextmanager
    async def open(self, link: Link) -> AsyncIterator[Client]:
        """Start a process and shake hands. Raises `tool_server_down` if it cannot be started."""
        process = await self._spawn()
        transport = PipeTransport(process, link, self._output_limit)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(process.log_stderr, tuple(self.server.env.values()))
            async with _client(transport, link) as client:
                yield client
            tasks.cancel_scope.cancel()

    async def send(
        self, client: Client, link: Link, tool: Tool, _call: ToolCall, arguments: dict[str, Any]
    ) -> RawResult:
        """Send one call over the pipes."""
        return await exchange(client, link, tool.definition.name, arguments)

    async def _spawn(self) -> ServerProcess:
        assert self.server.command is not None
        try:
            return await ServerProcess.spawn(self.server.name, self.server.command, self.server.env)
        except OSError as error:
            problem = f"cannot be started ({error.strerror}: {self.server.command[0]})"
            raise server_down(self.server.name, problem) from error
