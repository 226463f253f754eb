"""What goes wrong on either side, and that it leaves nothing behind."""

import asyncio
import socket
import struct

import pytest

from app.sandbox.egress import Door, Egress, Policy, flow, upstream
from tests.sandbox.egress.conftest import HOST, OpenDoor, Outside, Way, echo, hello_of
from tests.sandbox.rooms import until

pytestmark = pytest.mark.anyio
RESET = struct.pack("ii", 1, 0)


def reset(writer: asyncio.StreamWriter) -> None:
    """Let the connection end with a reset."""
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()


async def test_an_upstream_that_dies(outside: Outside, open_door: OpenDoor) -> None:
    async def die(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(5)
        reset(writer)

    port = await outside.serve(die)
    way = await open_door(port)
    async with way.tunnel(port) as peer:
        await peer.send(hello_of(HOST))
        assert await peer.rest() == b""
    (one,) = await way.ended()
    assert (one.verdict, one.reason) == ("failed", "upstream_lost")


async def test_an_upstream_that_says_all_and_goes(outside: Outside, open_door: OpenDoor) -> None:
    async def leave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(2**16)
        writer.write(b"x" * 300_000)
        await writer.drain()

    port = await outside.serve(leave)
    way = await open_door(port)
    async with way.tunnel(port) as peer:
        await peer.send(hello_of(HOST))
        assert await peer.rest() == b"x" * 300_000
    (one,) = await way.ended()
    assert (one.verdict, one.reason, one.bytes_down) == ("allowed", "", 300_000)


async def test_a_client_that_keeps_a_finished_tunnel(
    outside: Outside, open_door: OpenDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def leave(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read(2**16)

    monkeypatch.setattr(flow, "_LINGER_S", 0.05)
    port = await outside.serve(leave)
    way = await open_door(port)
    async with way.tunnel(port) as peer:
        await peer.send(hello_of(HOST))
        (one,) = await way.ended()
        assert (one.verdict, one.reason) == ("allowed", "")
        assert await peer.rest() == b""


async def test_a_client_that_comes_while_the_door_closes(
    open_door: OpenDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept = Door._accept
    closings = []

    def close_first(door: Door, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # its turn comes before that of the call
        closings.append(asyncio.create_task(door.close()))
        accept(door, reader, writer)

    monkeypatch.setattr(Door, "_accept", close_first)
    way = await open_door(443)
    async with way.peer() as peer, asyncio.timeout(60):
        assert await peer.rest() == b""
    await asyncio.gather(*closings)


async def test_a_half_close_is_passed_on(outside: Outside, open_door: OpenDoor) -> None:
    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"%d" % len(await reader.read()))
        await writer.drain()

    port = await outside.serve(count)
    way = await open_door(port)
    async with way.tunnel(port) as peer:
        hello = hello_of(HOST)
        await peer.send(hello + bytes(100_000))
        peer.writer.write_eof()
        assert await peer.rest() == b"%d" % (len(hello) + 100_000)


@pytest.mark.parametrize("stage", ["head", "connect", "hello", "flow"])
async def test_a_client_that_vanishes(stage: str, outside: Outside, open_door: OpenDoor) -> None:
    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(2**16):
            writer.write(bytes(2**20))
            await writer.drain()

    port = await outside.serve(pour)
    way = await open_door(port)
    async with way.peer() as peer:
        if stage != "head":
            await peer.send(f"CONNECT {HOST}:{port} HTTP/1.1\r\n\r\n".encode())
        if stage in ("hello", "flow"):
            await peer.reader.readuntil(b"\r\n\r\n")
            await peer.send(hello_of(HOST)[: 100 if stage == "hello" else None])
        if stage == "flow":
            await peer.reader.readexactly(1000)
        # it is there, or nobody would notice that it leaves
        await until(lambda: bool(way.door._running))
        peer.writer.transport.abort()
    (one,) = await way.ended()
    assert (one.verdict, one.reason) == ("allowed", "client_left")


async def test_a_plain_server_that_answers_early(outside: Outside, open_door: OpenDoor) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\n\r\nno")
        await writer.drain()
        writer.write_eof()
        await reader.read()

    port = await outside.serve(refuse)
    way = await open_door(port, plain_ports=frozenset({port}))
    answer = await way.ask(
        f"POST http://{HOST}:{port}/ HTTP/1.1\r\nHost: {HOST}:{port}\r\n"
        "Content-Length: 1000\r\n\r\nx"
    )
    assert (answer.status, answer.body) == (413, b"no")


async def test_a_plain_client_that_sends_too_little(outside: Outside, open_door: OpenDoor) -> None:
    async def swallow(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()
        await asyncio.Event().wait()

    port = await outside.serve(swallow)
    way = await open_door(port, plain_ports=frozenset({port}))
    async with way.peer() as peer:
        await peer.send(
            f"POST http://{HOST}:{port}/ HTTP/1.1\r\nHost: {HOST}:{port}\r\n"
            "Content-Length: 9\r\n\r\nx".encode()
        )
        peer.writer.write_eof()
        await peer.rest()
    (one,) = await way.ended()
    assert (one.verdict, one.reason) == ("allowed", "client_left")


async def test_a_name_server_or_host_that_never_answers(
    outside: Outside, open_door: OpenDoor, egress: Egress, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_host: str, _port: int) -> list[str]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(upstream, "CONNECT_S", 0.05)
    monkeypatch.setattr(egress._dialler, "_resolve", never)
    way = await open_door(443)
    answer = await way.ask(f"CONNECT {HOST}:443 HTTP/1.1\r\n\r\n")
    assert (answer.status, answer.code) == (504, "upstream_timeout")
    assert [one.verdict for one in await way.ended()] == ["failed"]


async def test_a_door_closes_while_everything_is_under_way(
    outside: Outside, open_door: OpenDoor
) -> None:
    port = await outside.serve(echo)
    way = await open_door(port, connections=50)

    async def one(count: int) -> None:
        async with way.peer() as peer:
            await peer.send(f"CONNECT {HOST}:{port} HTTP/1.1\r\n\r\n".encode()[: 10 * count])
            if count > 5:
                await peer.send(hello_of(HOST) + bytes(100_000))
            await peer.rest()

    clients = [asyncio.create_task(one(count)) for count in range(20)]
    while len(way.door._running) < 20:
        await asyncio.sleep(0)
    await asyncio.gather(way.door.close(), way.door.close())
    assert len(way.door.calls) == 20
    for ended in await asyncio.gather(*clients, return_exceptions=True):
        assert ended is None or isinstance(ended, OSError)


async def test_many_doors_leave_nothing(outside: Outside, egress: Egress) -> None:
    """What they might leave is counted by the fixtures: tasks, sockets, folders."""
    port = await outside.serve(echo)
    egress.policies["many"] = Policy("many", {HOST: frozenset({port})})
    for number in range(300):
        folder = egress.new_folder()
        way = Way(await egress.open(folder, "many", f"task-{number}"), folder)
        async with way.tunnel(port) as peer:
            await peer.send(hello_of(HOST))
            await peer.reader.readexactly(5)
            if number % 2:
                await way.door.close()
        await way.door.close()
        assert len(way.door.calls) == 1
        egress.drop_folder(folder)
        assert not folder.exists()
    assert egress._doors == set()


async def test_a_verdict_stands_though_the_task_ends_before_it_is_read(
    open_door: OpenDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    closing = asyncio.Event()

    async def never(_ends: upstream.Ends, _within_s: float) -> None:
        closing.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(upstream.Ends, "close", never)
    way = await open_door(443)
    async with way.peer() as peer:
        await peer.send(b"CONNECT other.example.org:443 HTTP/1.1\r\n\r\n")
        await closing.wait()
        await way.door.close()
    (one,) = way.door.calls
    assert (one.host, one.verdict) == ("other.example.org", "refused")
