"""Tunnels: who gets out, where to, and what is noted of it."""

import asyncio
import ssl

import pytest

from app.sandbox.egress import Egress, Policy
from tests.sandbox.egress.conftest import HOST, LOOPBACK, OpenDoor, Outside, Way, echo, hello_of
from tests.serving import port_of_nobody

pytestmark = pytest.mark.anyio
DENIED = b"\x15\x03\x03\x00\x02\x02\x31"


async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nACGT")
    await writer.drain()


def connect_to(host: str, port: int) -> str:
    return f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n"


async def refused(way: Way, host: str, port: int) -> str:
    answer = await way.ask(connect_to(host, port))
    assert answer.status == 403, answer
    assert answer.json.keys() >= {"code", "host", "port", "reason", "hint"}
    assert answer.json["reason"] == answer.reason
    return answer.code


async def test_a_page_through_tls(outside: Outside, open_door: OpenDoor) -> None:
    port = await outside.serve(page, is_tls=True)
    way = await open_door(port)
    trusted = ssl.create_default_context(cafile=str(outside.public))
    async with way.tunnel(port) as peer:
        await peer.writer.start_tls(trusted, server_hostname=HOST)
        await peer.send(f"GET / HTTP/1.1\r\nHost: {HOST}\r\n\r\n".encode())
        assert (await peer.rest()).endswith(b"\r\n\r\nACGT")
    assert (outside.asked, outside.names) == ([(HOST, port)], [HOST])
    calls = await way.ended()
    assert [(call.host, call.port, call.verdict, call.reason) for call in calls] == [
        (HOST, port, "allowed", "")
    ]
    assert calls[0].bytes_up > 200
    assert calls[0].bytes_down > 500
    assert calls[0].ms >= 0


async def test_the_certificate_is_the_servers_own(outside: Outside, open_door: OpenDoor) -> None:
    port = await outside.serve(page, is_tls=True)
    way = await open_door(port)
    async with way.tunnel(port) as peer:
        with pytest.raises(ssl.SSLCertVerificationError):
            await peer.writer.start_tls(ssl.create_default_context(), server_hostname=HOST)


async def test_another_host_or_port_is_refused(outside: Outside, open_door: OpenDoor) -> None:
    port = await outside.serve(echo)
    way = await open_door(port)
    answer = await way.ask(connect_to("other.example.org", port))
    assert (answer.status, answer.code) == (403, "host_not_allowed")
    assert answer.reason == "other.example.org is not an allowed host"
    assert answer.json["allowed"] == [HOST]
    for host in ("example.org", f"x{HOST}", f"{HOST}.evil.org", f"x.{HOST}"):
        assert await refused(way, host, port) == "host_not_allowed"
    for other in (22, 443, port + 1 if port < 65535 else 1):
        assert await refused(way, HOST, other) == "port_not_allowed"
    assert outside.asked == []
    calls = await way.ended()
    assert {call.verdict for call in calls} == {"refused"}
    assert calls[0].host == "other.example.org"


@pytest.mark.parametrize("host", ["127.0.0.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:7f00:1]"])
async def test_an_address_is_refused(host: str, outside: Outside, open_door: OpenDoor) -> None:
    port = await outside.serve(echo)
    way = await open_door(port)
    assert await refused(way, host, port) == "address"
    assert [(call.host, call.reason) for call in await way.ended()] == [(host, "address")]


async def test_port_22_and_a_tunnel_that_is_no_tls(outside: Outside, open_door: OpenDoor) -> None:
    received = []

    async def ssh(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        received.append(await reader.read())

    port = await outside.serve(ssh)
    way = await open_door(port)
    assert await refused(way, HOST, 22) == "port_not_allowed"
    async with way.tunnel(port) as peer:
        await peer.send(b"SSH-2.0-OpenSSH_9.2\r\n")
        assert await peer.rest() == DENIED
    assert [call.reason for call in await way.ended()] == ["port_not_allowed", "not_tls"]
    await outside.ended()
    assert received == [b""]


async def test_tls_must_ask_for_the_host(outside: Outside, open_door: OpenDoor) -> None:
    received = []

    async def note(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        received.append(await reader.read())

    port = await outside.serve(note)
    way = await open_door(port)
    for name in ("other.example.org", None):
        async with way.tunnel(port) as peer:
            await peer.send(hello_of(name))
            assert await peer.rest() == DENIED
    calls = await way.ended()
    assert [(call.verdict, call.reason) for call in calls] == [("refused", "name_mismatch")] * 2
    await outside.ended(2)
    assert received == [b"", b""]


async def test_a_real_client_hears_that_it_is_denied(outside: Outside, open_door: OpenDoor) -> None:
    port = await outside.serve(page, is_tls=True)
    way = await open_door(port)
    trusted = ssl.create_default_context(cafile=str(outside.public))
    async with way.tunnel(port) as peer:
        with pytest.raises(ssl.SSLError, match=r"(?i)access.denied"):
            await peer.writer.start_tls(trusted, server_hostname="other.example.org")


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1", "127.0.0.2", "169.254.169.254", "100.64.0.1", "192.168.1.1", "224.0.0.1",
        "::1", "fe80::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "0.0.0.0",
    ],
)  # fmt: skip
async def test_an_allowed_name_of_a_closed_address(
    address: str, outside: Outside, open_door: OpenDoor, egress: Egress
) -> None:
    port = await outside.serve(echo)
    # also beside an address that is open
    outside.answers[HOST] = [[address], [LOOPBACK, address]]
    way = await open_door(port)
    for _ in range(2):
        assert await refused(way, HOST, port) == "address_not_public"


async def test_the_rule_of_the_real_thing_is_the_kernels(
    outside: Outside,
) -> None:
    port = await outside.serve(echo)
    policy = Policy("real", {HOST: frozenset({port})})
    real = Egress({"real": policy}, look_up=outside.look_up)
    folder = real.new_folder()
    way = Way(await real.open(folder, "real", "task-1"), folder)
    assert await refused(way, HOST, port) == "address_not_public"
    await real.close()


async def test_an_answer_that_changes_changes_nothing(
    outside: Outside, open_door: OpenDoor
) -> None:
    port = await outside.serve(echo)
    outside.answers[HOST] = [[LOOPBACK], ["127.0.0.2"]]
    way = await open_door(port)
    async with way.tunnel(port) as peer:
        hello = hello_of(HOST)
        await peer.send(hello)
        assert await peer.reader.readexactly(len(hello)) == hello
        # One question for the whole connection; the next one gets the private address.
        assert outside.asked == [(HOST, port)]
        assert await refused(way, HOST, port) == "address_not_public"


async def test_the_first_address_that_answers(outside: Outside, open_door: OpenDoor) -> None:
    port = await outside.serve(echo)
    outside.answers[HOST] = [[LOOPBACK, LOOPBACK]]
    way = await open_door(port)
    async with way.tunnel(port) as peer:
        await peer.send(hello_of(HOST))
        assert await peer.reader.readexactly(3) == b"\x16\x03\x01"


async def test_names_and_hosts_that_do_not_answer(outside: Outside, open_door: OpenDoor) -> None:
    with port_of_nobody() as port:
        way = await open_door(port)
        answer = await way.ask(connect_to(HOST, port))
    assert (answer.status, answer.code) == (502, "unreachable")
    for known in ([[]], None):
        if known is None:
            del outside.answers[HOST]
        else:
            outside.answers[HOST] = known
        answer = await way.ask(connect_to(HOST, port))
        assert (answer.status, answer.code) == (502, "no_address")
    assert {call.verdict for call in await way.ended()} == {"failed"}


async def test_an_old_client_without_host(outside: Outside, open_door: OpenDoor) -> None:
    port = await outside.serve(echo)
    way = await open_door(port)
    async with way.peer() as peer:
        await peer.send(f"CONNECT {HOST}:{port} HTTP/1.0\r\n\r\n".encode())
        assert (await peer.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_a_tunnel_to_a_plain_port_is_refused(outside: Outside, open_door: OpenDoor) -> None:
    port = await outside.serve(echo)
    way = await open_door(port, plain_ports=frozenset({port}))
    assert await refused(way, HOST, port) == "port_not_allowed"


async def test_doors_are_apart(outside: Outside, egress: Egress) -> None:
    """What one task may, moves and is told is no other's."""
    port = await outside.serve(echo)
    other = "more.example.org"
    outside.answers[other] = [[LOOPBACK]]
    for name, host in (("one", HOST), ("two", other)):
        egress.policies[name] = Policy(name, {host: frozenset({port})}, calls=1)
    folders = [egress.new_folder() for _ in range(2)]
    ways = [
        Way(await egress.open(folder, name, name), folder)
        for folder, name in zip(folders, ("one", "two"), strict=True)
    ]
    assert await refused(ways[0], other, port) == "host_not_allowed"
    assert not ways[0].path.exists()
    assert await refused(ways[1], HOST, port) == "host_not_allowed"
    assert [len(await way.ended()) for way in ways] == [1, 1]


async def test_a_door_that_closes_ends_its_tunnels(outside: Outside, open_door: OpenDoor) -> None:
    port = await outside.serve(echo)
    way = await open_door(port)
    async with way.tunnel(port) as peer, way.peer() as idle:
        await peer.send(hello_of(HOST))
        await peer.reader.readexactly(5)
        await way.door.close()
        await peer.rest()
        assert await idle.rest() == b""
        with pytest.raises(FileNotFoundError):
            await asyncio.open_unix_connection(way.path)
    assert sorted((call.host, call.verdict, call.reason) for call in way.door.calls) == [
        ("", "allowed", "task_ended"),
        (HOST, "allowed", "task_ended"),
    ]
    await way.door.close()
    assert len(way.door.calls) == 2
