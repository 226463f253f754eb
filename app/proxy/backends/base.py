"""The seam between the proxy and whatever runs a tool."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import mcp_types
from mcp import Client

from app.kernel.errors import AppError
from app.kernel.principal import Principal
from app.kernel.scrub import Scrubber
from app.proxy.faults import server_down
from app.proxy.telling import Teller
from app.proxy.types import RawResult, ServerHealth, ToolCall
from app.registry import ServerConfig, Tool, ToolDefinition


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a server says of itself: its capabilities, `serverInfo` and instructions."""

    capabilities: Mapping[str, Any]
    info: Mapping[str, Any]
    instructions: str | None

    @classmethod
    def of(cls, client: Client, scrubber: Scrubber) -> "Greeting":
        """What an open client was told."""
        info = client.server_info
        found = (
            client.server_capabilities.model_dump(mode="json", by_alias=True, exclude_none=True),
            {"name": "", "version": ""}
            if info is None
            else info.model_dump(mode="json", by_alias=True, exclude_none=True),
            client.instructions,
        )
        return cls(*scrubber.value(found))


class ToolBackend(Protocol):
    """Runs the tools of one server. Faults are `AppError`s, a tool's own refusal is a result."""

    server: ServerConfig
    reads_local_files: bool

    async def start(self) -> None:
        """Return once the first attempt to start has worked, or failed and will be repeated."""
        ...

    async def list_tools(self) -> Sequence[ToolDefinition]:
        """What the server offers as of its last start; nothing while it never started."""
        ...

    async def call(
        self, tool: Tool, call: ToolCall, arguments: dict[str, Any], timeout_s: float
    ) -> RawResult:
        """Run a tool; `arguments` are checked and their files resolved."""
        ...

    def health(self) -> ServerHealth: ...

    async def close(self) -> None: ...


class ServerBackend(ToolBackend, Protocol):
    """A backend that is a whole MCP server, of which tools are a part."""

    def greeting(self) -> Greeting:
        """What the server says of itself. Raises `tool_server_down` while it never started."""
        ...

    async def check(self, tool: Tool, timeout_s: float) -> None:
        """Raise unless the running server describes the tool as it was approved."""
        ...

    async def ask(
        self,
        principal: Principal,
        method: str,
        params: Mapping[str, Any],
        timeout_s: float,
        on_progress: Teller | None = None,
    ) -> dict[str, Any]:
        """The result of any request. Raises MCPError with the server's own error."""
        ...


class Link:
    """A connection to a server: whether, how and why it ended; `wake` is set at every change.

    `noted` is a fault outside of any call that did not end it, which may explain a failed start.
    """

    def __init__(self, server: str) -> None:
        self.server = server
        self.ended = asyncio.Event()
        self.wake = asyncio.Event()
        self.fault: AppError | None = None
        #: Hides the credentials of this connection in what the server says of itself.
        self.scrubber = Scrubber()
        self.noted: AppError | None = None
        self.is_stale = False

    def end(self) -> None:
        """The connection is over."""
        self.ended.set()
        self.wake.set()

    def fail(self, fault: AppError) -> None:
        """End the connection for this reason; the first reason stays."""
        if self.fault is None:
            self.fault = fault
        self.end()

    def down(self) -> AppError:
        """The error for a call that the end of this connection cut off."""
        return self.fault or server_down(self.server, "went away during the call")

    def mark_stale(self) -> None:
        """The server's tools are no longer those it listed."""
        self.is_stale = True
        self.wake.set()

    async def on_message(self, message: object) -> None:
        """Note that the server's tools have changed; for the client's `message_handler`."""
        if isinstance(message, mcp_types.ToolListChangedNotification):
            self.mark_stale()


class Connector(Protocol):
    """Opens connections to one server."""

    server: ServerConfig
    reads_local_files: bool

    def open(self, link: Link) -> AbstractAsyncContextManager[Client]:
        """Connect and shake hands; leave the context in the task that entered it.

        Faults of the connection are noted in `link`, also those of a handshake that fails.
        """
        ...

    async def send(
        self, client: Client, link: Link, tool: Tool, call: ToolCall, arguments: dict[str, Any]
    ) -> RawResult:
        """Send one call, once. Raises an AppError for all that is not the tool's own refusal."""
        ...
