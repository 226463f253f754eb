"""Servers that answer only to somebody's credentials, over a secret header or OAuth.

The platform's own connection, which lists the tools and watches for changes, stands on the
developer's credentials. Calls go out with the caller's own, whether or not it stands.
"""

import asyncio
from typing import Any

from app.proxy.backends import RemoteConnector, SupervisedBackend
from app.proxy.backends.base import Link
from app.proxy.faults import tool_timeout
from app.proxy.types import OnListed, RawResult, ToolCall
from app.registry import ServerConfig, Tool


def is_personal(server: ServerConfig) -> bool:
    """Whether a server asks for credentials."""
    return bool(server.secrets) or server.oauth is not None


class PersonalBackend(SupervisedBackend):
    """Calls that need no connection of the platform's own; the connector carries them alone."""

    def __init__(self, connector: RemoteConnector, on_listed: OnListed | None = None) -> None:
        super().__init__(connector, on_listed)
        self._remote = connector

    async def call(
        self, tool: Tool, call: ToolCall, arguments: dict[str, Any], timeout_s: float
    ) -> RawResult:
        """Run a tool with the caller's credentials; never sent twice."""
        if self._open_session is not None:
            return await super().call(tool, call, arguments, timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                link = Link(self.server.name)
                return await self._remote.send(None, link, tool, call, arguments)
        except TimeoutError as error:
            raise tool_timeout(tool.full_name, timeout_s) from error

    async def check(self, tool: Tool, timeout_s: float) -> None:
        """Raise if the running server is known to describe the tool otherwise."""
        if self._open_session is not None:
            await super().check(tool, timeout_s)
