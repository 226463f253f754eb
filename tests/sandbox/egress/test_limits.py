"""A policy's caps: bytes, rate, connections, calls, silence and length."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from app.sandbox.egress import Egress, Policy, call
from app.sandbox.egress.budget import Budget
from app.sandbox.egress.flow import Flow
from tests.sandbox.egress.conftest import HOST, OpenDoor, Outside, Peer, echo, hello_of

pytestmark = pytest.mark.anyio


async def greet(peer: Peer) -> int:
    """Begin TLS in a tunnel to an echo; the bytes it took each way."""
    hello = hello_of(HOST)
    await peer.send(hello)
    await peer.reader.readexactly(len(hello))
    return len(hello)


async def test_a_cap_on_bytes_down(outside: Outside, open_door: OpenDoor) -> None:
    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(bytes(2**16))
            await writer.drain()

    port = await outside.serve(pour)
    way = await open_door(port, plain_ports=frozenset({port}), bytes_down=100_000)
    request = f"GET http://{HOST}:{port}/ HTTP/1.1\r\nHost: {HOST}:{port}\r\n\r\n"
    async with way.peer() as peer:
        await peer.send(request.encode())
        assert len(await peer.rest()) == 100_000
    # The cap is the task's, not a connection's.
    async with way.peer() as peer:
        await peer.send(request.encode())
        assert await peer.rest() == b""
    assert [(one.bytes_down, one.verdict, one.reason) for one in await way.ended()] == [
        (100_000, "cut", "bytes_down"),
        (0, "cut", "bytes_down"),
    ]


async def test_a_cap_on_bytes_up(outside: Outside, open_door: OpenDoor) -> None:
    port = await outside.serve(echo)
    way = await open_door(port, bytes_up=2000)
    async with way.tunnel(port) as peer:
        taken = await greet(peer)
        await peer.send(bytes(5000))
        assert len(await peer.rest()) <= 2000 - taken
    (one,) = await way.ended()
    assert (one.bytes_up, one.verdict, one.reason) == (2000, "cut", "bytes_up")


def test_the_bucket_holds_a_second_of_the_rate() -> None:
    clock = [100.0]
    budget = Budget(Policy("p", {}, bytes_per_s=1000, bytes_up=10**6), lambda: clock[0])
    assert budget.take("up", 1000) == (1000, 0.0)
    assert budget.take("down", 500) == (500, 0.5)
    clock[0] += 0.25
    assert budget.take("up", 250) == (250, 0.5)
    clock[0] += 60
    assert budget.take("up", 1500) == (1500, 0.5)


def test_the_bytes_of_each_way_are_counted_down() -> None:
    budget = Budget(Policy("p", {}, bytes_up=10, bytes_down=20), lambda: 0.0)
    assert [budget.take("up", 6)[0], budget.take("up", 6)[0], budget.take("up", 6)[0]] == [6, 4, 0]
    assert budget.take("down", 30)[0] == 20


async def test_the_rate_holds_bytes_back(
    outside: Outside, open_door: OpenDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []
    put_off: list[float] = []
    port = await outside.serve(echo)
    way = await open_door(port, bytes_per_s=10_000)
    async with way.tunnel(port) as peer:
        await greet(peer)
        taken, touched = Budget.take, Flow._touch

        def take(self: Budget, direction: str, size: int) -> tuple[int, float]:
            allowed, delay = taken(self, direction, size)  # type: ignore[arg-type]
            waits.append(delay)
            return allowed, delay

        def touch(self: Flow, delay: float) -> None:
            now = self._now()
            touched(self, delay)
            assert self._timer is not None
            put_off.append((self._timer.when() or now) - now - self._policy.idle_s)

        monkeypatch.setattr(Budget, "take", take)
        monkeypatch.setattr(Flow, "_touch", touch)
        await peer.send(bytes(8000))
        await peer.reader.readexactly(8000)
        peer.writer.write_eof()
        assert await peer.rest() == b""
    (one,) = await way.ended()
    assert (one.verdict, one.reason) == ("allowed", "")
    assert max(waits) > 0.3
    # The wait for the rate is not counted as silence.
    assert max(put_off) >= max(waits) - 0.001


async def test_too_many_connections(outside: Outside, open_door: OpenDoor) -> None:
    port = await outside.serve(echo)
    way = await open_door(port, connections=2)
    async with way.tunnel(port), way.peer():
        answer = await way.ask(b"")
        assert (answer.status, answer.code) == (429, "too_many_connections")
    await asyncio.gather(*way.door._running)
    async with way.tunnel(port) as peer:
        await greet(peer)
    reasons = [one.reason for one in await way.ended()]
    assert sorted(reasons) == ["", "client_left", "client_left", "too_many_connections"]


async def test_a_task_that_tries_for_ever(open_door: OpenDoor) -> None:
    way = await open_door(443, calls=5)
    for _ in range(5):
        assert (await way.ask(b"\r\n\r\n")).status == 400
    with pytest.raises(FileNotFoundError):
        await way.ask(b"\r\n\r\n")
    assert len(await way.ended()) == 5


async def test_tries_at_once_do_not_get_past_the_number(open_door: OpenDoor) -> None:
    way = await open_door(443, calls=5, connections=200)
    answers = await asyncio.gather(
        *(way.ask(b"\r\n\r\n") for _ in range(40)), return_exceptions=True
    )
    answered = [answer for answer in answers if not isinstance(answer, BaseException)]
    assert len(answered) == 5
    assert len(await way.ended()) == 5


async def test_silence_is_cut(outside: Outside, open_door: OpenDoor) -> None:
    async def mute(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        while await reader.read(2**16):
            continue

    port = await outside.serve(mute)
    way = await open_door(port, idle_s=0.05)
    async with way.tunnel(port) as peer:
        await peer.send(hello_of(HOST))
        assert await peer.rest() == b""
    (one,) = await way.ended()
    assert (one.verdict, one.reason) == ("cut", "idle")


@pytest.mark.parametrize("early_s", [0.0, 0.005])
async def test_length_is_cut_though_bytes_flow(
    outside: Outside, open_door: OpenDoor, monkeypatch: pytest.MonkeyPatch, early_s: float
) -> None:
    begin = Flow.__init__

    def begun(flow: Flow, *given: Any) -> None:
        begin(flow, *given)
        # A loop's clock may be read a little short of the timer that it has just let off.
        flow._now = lambda: asyncio.get_running_loop().time() - early_s

    monkeypatch.setattr(Flow, "__init__", begun)

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(5)
        while True:
            writer.write(b"x" * 1000)
            await writer.drain()

    port = await outside.serve(drip)
    way = await open_door(port, seconds=0.1, idle_s=60, bytes_per_s=2**20)
    async with way.tunnel(port) as peer:
        await peer.send(hello_of(HOST))
        await peer.rest()
    (one,) = await way.ended()
    assert (one.verdict, one.reason) == ("cut", "seconds")


@pytest.mark.parametrize("data", [b"", b"GET http://", b"GET http://data.example.org/\n\n"])
async def test_a_slow_head(
    data: bytes, open_door: OpenDoor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call, "HEAD_S", 0.05)
    way = await open_door(443)
    answer = await way.ask(data)
    assert (answer.status, answer.code) == (408, "too_slow")


async def test_a_slow_hello(
    outside: Outside, open_door: OpenDoor, egress: Egress, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def look_up(host: str, port: int) -> Sequence[str]:
        # the request is read by now, what follows is late
        monkeypatch.setattr(call, "HEAD_S", 0.1)
        return await outside.look_up(host, port)

    monkeypatch.setattr(egress._dialler, "_resolve", look_up)
    port = await outside.serve(echo)
    way = await open_door(port)
    async with way.tunnel(port) as peer:
        await peer.send(hello_of(HOST)[:50])
        assert await peer.rest() == b"\x15\x03\x03\x00\x02\x02\x31"
    (one,) = await way.ended()
    assert (one.verdict, one.reason, one.bytes_up) == ("refused", "too_slow", 0)


async def test_the_log_is_bounded(open_door: OpenDoor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.sandbox.egress.door.MAX_LISTED", 3)
    way = await open_door(443)
    for _ in range(5):
        await way.ask(b"\r\n\r\n")
    assert len(await way.ended()) == 3
    assert way.door.unlisted == 2


async def test_a_client_that_does_not_read_is_cut(outside: Outside, open_door: OpenDoor) -> None:
    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(5)
        while True:
            writer.write(bytes(2**16))
            await writer.drain()

    port = await outside.serve(pour)
    way = await open_door(port, idle_s=0.1)
    async with way.tunnel(port) as peer:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await peer.send(hello_of(HOST))
        await asyncio.gather(*way.door._running)
    (one,) = way.door.calls
    assert (one.verdict, one.reason) == ("cut", "idle")
    # No more than buffers hold was taken from the outside.
    assert one.bytes_down < 2**21
