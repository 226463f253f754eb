"""Tools that are functions of this process, such as the sandbox."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from app.proxy.faults import tool_timeout
from app.proxy.types import RawResult, ServerHealth, ToolCall
from app.registry import Prices, ServerConfig, Tool, ToolDefinition

Handler = Callable[[ToolCall, dict[str, Any]], Awaitable[RawResult]]
"""Takes the call and its checked arguments, files as local paths; raises AppError."""


@dataclass(frozen=True, slots=True)
class BuiltinTool:
    """A function with a definition; `timeout_s` None is the default of every tool.

    A handler that keeps the caller's time limit itself gets `margin_s` more to report. `describe`
    gives the description anew at each listing, where it says what only a running process knows.
    """

    definition: ToolDefinition
    handler: Handler
    price_micro: int = 0
    timeout_s: float | None = None
    margin_s: float = 0.0
    describe: Callable[[], str] | None = None

    def listed(self) -> ToolDefinition:
        """The definition as it is now."""
        if self.describe is None:
            return self.definition
        return replace(self.definition, description=self.describe())


class BuiltinBackend:
    """The built-in tools of one server name."""

    reads_local_files = True

    def __init__(self, name: str, tools: Sequence[BuiltinTool]) -> None:
        self._tools = {tool.definition.name: tool for tool in tools}
        prices = {name: tool.price_micro for name, tool in self._tools.items()}
        limits = [tool.timeout_s for tool in tools if tool.timeout_s is not None]
        self.server = ServerConfig(
            name=name,
            prices=Prices(by_tool=prices),
            timeout_s=max(limits, default=None),
            is_trusted=True,
        )

    async def start(self) -> None:
        """Nothing has to be started."""

    async def list_tools(self) -> Sequence[ToolDefinition]:
        return [tool.listed() for tool in self._tools.values()]

    async def call(
        self, tool: Tool, call: ToolCall, arguments: dict[str, Any], timeout_s: float
    ) -> RawResult:
        builtin = self._tools[tool.definition.name]
        try:
            async with asyncio.timeout(timeout_s + builtin.margin_s):
                return await builtin.handler(call, arguments)
        except TimeoutError as error:
            raise tool_timeout(tool.full_name, timeout_s) from error

    def health(self) -> ServerHealth:
        return ServerHealth(self.server.name, True, len(self._tools), None, 0)

    async def close(self) -> None:
        """Nothing has to be closed."""
