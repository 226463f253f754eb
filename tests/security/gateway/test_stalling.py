"""Clients that stall: they lose their connection, and nobody else waits for them."""

import asyncio
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest

from app.kernel.settings import Settings
from app.surfaces.patience import PatientProtocol
from tests.security.gateway.conftest import free, head, raw
from tests.surfaces.fastpath import conftest as fastpath
from tests.surfaces.fastpath.conftest import Far, message
from tests.surfaces.fastpath.test_sessions import sitting
from tests.surfaces.mcp_doors.clients import initialize, request

pytestmark = pytest.mark.anyio
BODY = orjson.dumps(message())
_ADDRESS = re.compile(rb"data: (\S+)\r\n")
MODERN = ("mcp-protocol-version: 2026-07-28", "mcp-method: tools/call", "mcp-name: far.echo")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    usual: Settings = fastpath.settings.__wrapped__(tmp_path)  # type: ignore[attr-defined]
    return usual.model_copy(update={"stall_seconds": 0.4, "mcp_streams_per_user": 1})


async def _deaf(far: Far) -> socket.socket:
    """A connection that takes next to nothing before it is read."""
    asked = socket.socket()
    asked.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    asked.setblocking(False)
    at = urlsplit(far.url)
    await asyncio.get_running_loop().sock_connect(asked, (at.hostname, at.port))
    return asked


async def _dripped(far: Far, start: bytes, drops: bytes) -> None:
    """Send the start, then a drop at a time for as long as the server takes them."""
    async with raw(far) as line:
        await line.send(start)
        ended = asyncio.create_task(line.rest())
        for number in range(10_000):
            if not await line.send(drops[number % len(drops) :][:1]):
                break
            done, _ = await asyncio.wait({ended}, timeout=0.02)
            if done:
                break
        else:
            raise AssertionError("the connection is still open")
        assert b" 200 " not in await ended


async def test_a_request_drop_by_drop(far: Far) -> None:
    """Its head, its body, its chunks; meanwhile others are served."""
    lines = head(far, *MODERN)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_dripped(far, b"", b"G"))
        tasks.create_task(_dripped(far, lines[:-2], b"x"))
        tasks.create_task(_dripped(far, lines[:-2] + b"content-length: 50000\r\n\r\n", b" "))
        chunks = lines[:-2] + b"transfer-encoding: chunked\r\n\r\n"
        tasks.create_task(_dripped(far, chunks, b"1\r\n \r\n"))
        tasks.create_task(_dripped(far, head(far, path="/v1/jobs")[:-2], b"y"))
        answer = await far.post(message("far.free"))
        assert answer.status_code == 200
    far.upstream.calls.clear()
    await free(far)


async def test_a_connection_that_says_nothing(far: Far) -> None:
    async with raw(far) as line:
        assert await line.rest() == b""


async def test_a_client_that_reads_no_answers(far: Far) -> None:
    """Requests one behind the other, their answers left lying: the line is cut."""
    request = head(far, "content-length: 0", method="GET", path="/v1/openapi.json")
    reader, writer = await asyncio.open_connection(sock=await _deaf(far), limit=1024)
    writer.write(request * 100)
    async with asyncio.timeout(60):
        while not writer.transport.is_closing():
            # What is written after the other side has gone tells so.
            writer.write(b" ")
            await asyncio.sleep(0.05)
    assert reader is not None
    assert (await far.post(message("far.free"))).status_code == 200


async def test_a_stream_that_nobody_reads(far: Far) -> None:
    """Questions posted to it, their answers left lying: it is cut, and its place is free again."""
    known, loop = dict(far.world.alice.headers), asyncio.get_running_loop()
    with await _deaf(far) as asked:
        await loop.sock_sendall(asked, head(far, method="GET", path="/sse"))
        began = b""
        while (found := _ADDRESS.search(began)) is None:
            began += await loop.sock_recv(asked, 1024)
        messages = far.url + found[1].decode()
        second = await far.http.get(f"{far.url}/sse", headers=known)
        assert second.status_code == 429
        assert (await far.http.post(messages, json=initialize(), headers=known)).status_code == 202
        async with asyncio.timeout(120):
            number, status = 1, 202
            while status == 202:
                number += 1
                question = request(number, "tools/list")
                answer = await far.http.post(messages, json=question, headers=known)
                status = answer.status_code
        # The session has gone with its stream.
        assert status == 404
    async with far.http.stream("GET", f"{far.url}/sse", headers=known) as again:
        assert again.status_code == 200
    await free(far)


class _Waiting(PatientProtocol):
    """A connection that waits for the head of a request; it is its own transport."""

    def __init__(self) -> None:
        self._waits_for, self._looks, self.is_ended = None, 0, False
        self.transport = self  # type: ignore[assignment]

    def _state(self) -> tuple[object, ...]:
        return ("head",)

    def abort(self) -> None:
        self.is_ended = True


def test_a_server_that_stood_still_itself_blames_no_client() -> None:
    """Of a pause between two looks, however long, nobody can tell whose it was: four must agree."""
    client = _Waiting()
    ended = []
    for _ in range(6):
        client.check()
        ended.append(client.is_ended)
    assert ended == [False, False, False, False, True, True]


async def test_a_stream_that_is_quiet_is_not_cut(far: Far) -> None:
    """Who waits for news makes no progress either, and is no staller."""
    async with sitting(far) as session:
        lines = [f"{name}: {value}" for name, value in session.headers.items()]
        async with raw(far) as line:
            await line.send(head(far, *lines, method="GET"))
            assert b" 200 " in await line.reader.readuntil(b"\r\n\r\n")
            silence = asyncio.create_task(line.rest())
            done, _ = await asyncio.wait({silence}, timeout=2)
            assert not done
            silence.cancel()
