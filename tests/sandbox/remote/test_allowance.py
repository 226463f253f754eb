"""What one client may take up of a daemon; here in this process, without a sandbox behind it."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.kernel.errors import Code
from app.sandbox import IsolationError, Sandbox, TaskSpec
from app.sandbox.daemon import Allowance, Daemon, listening, service
from app.sandbox.daemon.spool import spooled
from app.sandbox.executors.remote import RemoteExecutor
from app.sandbox.wire import (
    BYTES,
    CHUNK,
    HELLO,
    REFUSED,
    TASK,
    VERSION,
    Address,
    receive,
    send,
    send_json,
)
from tests.sandbox.remote.test_daemon import a_task, hello

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def serving(folder: Path, **allowed: Any) -> AsyncIterator[Address]:
    daemon = Daemon(Sandbox([]), allowance=Allowance(**allowed))
    async with listening(daemon, Address(path=f"{folder}/d.sock")) as address:
        yield address


async def answer(reader: asyncio.StreamReader) -> dict[str, Any]:
    kind, payload = await receive(reader)
    assert kind == REFUSED
    found: dict[str, Any] = json.loads(payload)
    return found


async def test_a_client_that_says_nothing_is_let_go_of(tmp_path: Path) -> None:
    async with serving(tmp_path, patience_s=0.05) as address:
        reader, writer = await asyncio.open_unix_connection(address.path)
        assert await reader.read() == b""
        writer.close()


async def test_a_client_that_stalls_amid_its_files_is_let_go_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hurried(
        reader: asyncio.StreamReader, sizes: Sequence[int], patience_s: float
    ) -> AbstractAsyncContextManager[Path]:
        """With the files, and not with what comes before them."""
        return spooled(reader, sizes, patience_s / 400)

    monkeypatch.setattr(service, "spooled", hurried)
    async with serving(tmp_path, patience_s=20) as address:
        reader, writer = await asyncio.open_unix_connection(address.path)
        await send_json(writer, HELLO, hello())
        await send_json(writer, TASK, a_task(files=[["data", 10]]))
        assert await reader.read() == b""
        writer.close()


async def test_a_refused_client_is_heard_out_and_told(tmp_path: Path) -> None:
    files = [["data", 2**24]]
    async with serving(tmp_path, input_bytes=10) as address:
        reader, writer = await asyncio.open_unix_connection(address.path)
        await send_json(writer, HELLO, hello())
        await send_json(writer, TASK, a_task(files=files))
        # More than the socket holds: it ends only where somebody reads.
        for _ in range(2**24 // CHUNK):
            await send(writer, BYTES, bytes(CHUNK))
        assert (await answer(reader))["code"] == Code.INVALID_INPUT
        writer.close()


async def test_there_may_be_so_many_clients(tmp_path: Path) -> None:
    async with serving(tmp_path, clients=2) as address:
        waiting = [await asyncio.open_unix_connection(address.path) for _ in range(2)]
        reader, writer = await asyncio.open_unix_connection(address.path)
        assert (await answer(reader))["code"] == Code.RATE_LIMITED
        for _, open_one in [*waiting, (reader, writer)]:
            open_one.close()
            await open_one.wait_closed()
        with pytest.raises(IsolationError):
            await RemoteExecutor(address).capabilities()


async def test_input_files_may_be_so_large_together(tmp_path: Path) -> None:
    async with serving(tmp_path, input_bytes=10) as address:
        reader, writer = await asyncio.open_unix_connection(address.path)
        await send_json(writer, HELLO, hello())
        await send_json(writer, TASK, a_task(files=[["a", 6], ["b", 5]]))
        found = await answer(reader)
        assert (found["code"], found["details"]) == (Code.INVALID_INPUT, {"field": "input_files"})
        writer.close()


async def test_another_version_is_told_so(tmp_path: Path) -> None:
    async with serving(tmp_path) as address:
        reader, writer = await asyncio.open_unix_connection(address.path)
        await send_json(writer, HELLO, hello(version=VERSION + 1))
        assert (await answer(reader))["code"] == Code.CONFIG_INVALID
        writer.close()


async def test_without_a_sandbox_it_says_what_to_do(tmp_path: Path) -> None:
    async with serving(tmp_path) as address:
        with pytest.raises(IsolationError, match="not been started"):
            await RemoteExecutor(address).capabilities()


@pytest.mark.parametrize(
    "said", [{}, {"code": "new_code", "message": "", "hint": "", "details": {}}]
)
@pytest.mark.parametrize("kind", [b"c", b"x", b"?"])
async def test_a_daemon_of_another_version_is_none(
    tmp_path: Path, kind: bytes, said: dict[str, Any]
) -> None:
    async def other(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await send_json(writer, kind, said)
        writer.close()

    server = await asyncio.start_unix_server(other, f"{tmp_path}/d.sock")
    async with server:
        executor = RemoteExecutor(Address(path=f"{tmp_path}/d.sock"))
        with pytest.raises(IsolationError, match="does not answer"):
            await executor.capabilities()
        assert (await executor.run(TaskSpec("t", "pass"))).status == "infra_error"
