from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.kernel.clock import SystemClock
from app.kernel.db import Database
from app.kernel.errors import AppError, Code
from app.kernel.principal import SERVICE
from app.kernel.ratelimit import Limiter
from app.kernel.settings import Settings
from app.proxy import ToolCall, ToolProxy
from app.registry import Registry, ServerConfig, ToolDefinition
from tests.proxy.harness import USER, python_server, until

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def proxy_on(
    database: Database, registry: Registry, server: ServerConfig
) -> AsyncIterator[ToolProxy]:
    async def pin(server: ServerConfig, definitions: Sequence[ToolDefinition]) -> None:
        async with database.begin(SERVICE) as uow:
            await registry.pin(uow, server, definitions)
            await registry.refresh(uow)

    async def no_file(*_: object) -> Path:
        raise AppError(Code.NOT_FOUND, "No such file.")

    clock = SystemClock()
    proxy = ToolProxy(
        registry,
        Limiter(clock),
        Settings(),
        no_file,
        [],
        clock,
        servers=[server],
        on_listed=pin,
    )
    try:
        await proxy.start()
        yield proxy
    finally:
        await proxy.close()


async def outcome(proxy: ToolProxy, name: str = "changing.run", **arguments: bool) -> Code | None:
    try:
        await proxy.call(ToolCall(USER, name, arguments))
    except AppError as error:
        return error.code
    return None


async def test_a_tool_that_changes_is_refused_until_approved(
    database: Database, tmp_path: Path
) -> None:
    text = tmp_path / "description"
    text.write_text("Runs.")
    registry = Registry()
    server = python_server("changing.py", env={"DESCRIPTION": str(text)})
    async with proxy_on(database, registry, server) as proxy:
        assert await outcome(proxy) is None
        text.write_text("Sends your files.")
        assert await outcome(proxy, die=True) is Code.TOOL_SERVER_DOWN
        await until(lambda: proxy.health()[0].restarts == 1)
        assert await outcome(proxy) is Code.TOOL_DEFINITION_CHANGED
        async with database.begin(SERVICE) as uow:
            await registry.approve(uow, "changing.run")
            await registry.refresh(uow)
        assert await outcome(proxy) is None


@pytest.mark.parametrize("name", ["changing", "legacy"])
async def test_an_announced_change_is_seen_without_a_restart(
    database: Database, tmp_path: Path, name: str
) -> None:
    text = tmp_path / "description"
    text.write_text("Runs.")
    registry = Registry()
    server = python_server(f"{name}.py", env={"DESCRIPTION": str(text)})
    async with proxy_on(database, registry, server) as proxy:
        text.write_text("Sends your files.")
        assert await outcome(proxy, f"{name}.run", announce=True) is None
        await until(lambda: registry.snapshot().tools(USER) == [])
        assert await outcome(proxy, f"{name}.run") is Code.TOOL_DEFINITION_CHANGED
        assert proxy.health()[0].restarts == 0


async def test_a_change_before_anybody_listens_is_seen(database: Database, tmp_path: Path) -> None:
    text = tmp_path / "description"
    text.write_text("Runs.")
    registry = Registry()
    server = python_server(
        "changing.py", env={"DESCRIPTION": str(text), "BETWEEN": "Sends your files."}
    )
    async with proxy_on(database, registry, server) as proxy:
        await until(lambda: registry.snapshot().tools(USER) == [])
        assert await outcome(proxy) is Code.TOOL_DEFINITION_CHANGED
        assert proxy.health()[0].restarts == 0


async def test_a_trusted_servers_change_is_taken_over(database: Database, tmp_path: Path) -> None:
    text = tmp_path / "description"
    text.write_text("Runs.")
    registry = Registry()
    server = python_server("changing.py", env={"DESCRIPTION": str(text)}, is_trusted=True)
    async with proxy_on(database, registry, server) as proxy:
        text.write_text("Runs faster.")
        assert await outcome(proxy, die=True) is Code.TOOL_SERVER_DOWN
        await until(lambda: proxy.health()[0].restarts == 1)
        assert await outcome(proxy) is None
        assert registry.snapshot().resolve("changing.run").definition.description == "Runs faster."


async def test_a_snapshot_older_than_the_running_server_does_not_let_a_change_through(
    database: Database, tmp_path: Path
) -> None:
    text = tmp_path / "description"
    text.write_text("Runs.")
    registry = Registry()
    server = python_server("changing.py", env={"DESCRIPTION": str(text)})
    async with proxy_on(database, registry, server) as proxy:
        old = registry.snapshot()
        text.write_text("Sends your files.")
        await outcome(proxy, die=True)
        await until(lambda: proxy.health()[0].restarts == 1)
        registry._snapshot = old
        assert await outcome(proxy) is Code.TOOL_DEFINITION_CHANGED
