"""A proxy over small real servers, with a registry that takes what they list as approved."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from app.kernel.clock import Clock, SystemClock
from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal
from app.kernel.ratelimit import Limiter
from app.kernel.settings import Settings
from app.proxy import BuiltinTool, ServerHealth, ToolCall, ToolProxy, ToolResult
from app.registry import Registry, ServerConfig, Snapshot, Tool, ToolDefinition

SERVERS = Path(__file__).parent / "servers"
USER = Principal("user", uuid4())
OUTPUT_LIMIT = 1_000_000


def python_server(file: str, **keys: Any) -> ServerConfig:
    name = Path(file).stem
    return ServerConfig(name=name, command=(sys.executable, str(SERVERS / file)), **keys)


class World:
    """A running proxy, the files its users own, and what its servers listed."""

    def __init__(
        self,
        servers: Sequence[ServerConfig],
        builtins: Sequence[BuiltinTool],
        clock: Clock,
        **settings: Any,
    ) -> None:
        self.registry = Registry()
        self.files: dict[tuple[UUID | None, UUID], Path] = {}
        self._tools: dict[str, Tool] = {}
        self.proxy = ToolProxy(
            self.registry,
            Limiter(SystemClock()),
            Settings(**({"tool_output_limit": OUTPUT_LIMIT} | settings)),
            self._resolve,
            builtins,
            clock,
            servers=servers,
            on_listed=self._approve,
        )

    async def _resolve(self, principal: Principal, file_id: UUID) -> Path:
        if (path := self.files.get((principal.user_id, file_id))) is None:
            raise AppError(Code.NOT_FOUND, "No such file.")
        return path

    async def _approve(self, server: ServerConfig, definitions: Sequence[ToolDefinition]) -> None:
        for item in definitions:
            price, limit = server.prices.of(item.name), server.timeout_s or 20.0
            tool = Tool(item.full_name, server.name, item, "Approved", False, price, limit)
            self._tools[item.full_name] = tool
        self.show()

    def show(self, **changes: Any) -> None:
        """Put the tools, with `changes`, into the registry's snapshot."""
        tools = [replace(tool, **changes) for tool in self._tools.values()]
        self.registry._snapshot = Snapshot(tools)

    def add_file(self, principal: Principal, path: Path) -> str:
        file_id = uuid4()
        self.files[principal.user_id, file_id] = path
        return str(file_id)

    async def call(self, name: str, timeout_s: float | None = None, **given: Any) -> ToolResult:
        return await self.proxy.call(ToolCall(USER, name, given, timeout_s=timeout_s))

    async def refused(self, name: str, timeout_s: float | None = None, **given: Any) -> AppError:
        """The error a call raises; one that raises none fails the test."""
        try:
            result = await self.call(name, timeout_s, **given)
        except AppError as error:
            return error
        raise AssertionError(f"{name} answered {result}")

    def health(self, name: str) -> ServerHealth:
        return next(item for item in self.proxy.health() if item.name == name)

    @asynccontextmanager
    async def restart(self, name: str) -> AsyncIterator[None]:
        """What happens inside ends the server; leave once it is up again."""
        before = self.health(name).restarts
        yield
        await until(lambda: self.health(name).is_up and self.health(name).restarts > before)


@asynccontextmanager
async def running(
    *servers: ServerConfig,
    builtins: Sequence[BuiltinTool] = (),
    clock: Clock | None = None,
    **settings: Any,
) -> AsyncIterator[World]:
    world = World(servers, builtins, clock or SystemClock(), **settings)
    try:
        await world.proxy.start()
        yield world
    finally:
        await world.proxy.close()


async def until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for something that happens in another task or process."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)
