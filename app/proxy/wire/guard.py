"""The guarded way to a server: every connection's own address is judged, at the moment it is made.

A resolver's answer is judged nowhere else, since addresses may also come as literals, and the DNS
may answer differently from one look-up to the next (rebinding). The socket factory sees exactly
the address that is then connected to.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from yarl import URL

from app.kernel.egress import Resolve, is_public, literal_of

# Shorter than the five seconds after which common servers close an idle connection.
IDLE_S = 4.0
CONNECT_S = 5.0
_LOWEST_PORT = 1024
_WEB_PORTS = frozenset({80, 443})
# What listens there speaks something that bytes of a stranger's choice must not reach.
_CLOSED_PORTS = frozenset(
    {1433, 1521, 2049, 2375, 2376, 2379, 2380, 3306, 3389, 5432, 5900, 5984, 6000, 6379, 6443}
    | {8500, 9042, 9092, 9200, 9300, 10250, 11211, 15672, 27017, 50070}
)


class ClosedTargetError(OSError):
    """The address or port is none that may be reached."""


def check_port(port: int) -> None:
    """Raise `ClosedTargetError` for a port that no web server on the internet needs."""
    if port not in _WEB_PORTS and (port < _LOWEST_PORT or port in _CLOSED_PORTS):
        raise ClosedTargetError(f"port {port} is closed")


def public_socket(info: Any) -> socket.socket:
    """A socket for one entry of `getaddrinfo`, if its address is public and its port open."""
    family, kind, protocol, _, address = info
    if not is_public(str(address[0]).partition("%")[0]):
        raise ClosedTargetError("its host has an address that is not public")
    check_port(int(address[1]))
    return _socket(family, kind, protocol)


def any_socket(info: Any) -> socket.socket:
    """A socket for one entry of `getaddrinfo`, wherever it leads: for operators' own servers."""
    family, kind, protocol, _, _ = info
    return _socket(family, kind, protocol)


def _socket(family: int, kind: int, protocol: int) -> socket.socket:
    made = socket.socket(family, kind, protocol)
    made.setblocking(False)
    # Without it a small request waits for the acknowledgement of the one before (Nagle).
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


async def connect(
    factory: Callable[[], asyncio.Protocol], url: URL, look_up: Resolve, *, allow_private: bool
) -> None:
    """Connect a protocol to a URL's host, at the first of its addresses that takes it.

    Raises OSError: `ClosedTargetError` for an address or port that may not be reached,
    `TimeoutError` after `CONNECT_S`.
    """
    # As it is written on the wire: read back, a name may stand for another one (RFC 5895).
    host, port = url.raw_host or "", url.port or 0
    make = any_socket if allow_private else public_socket
    async with asyncio.timeout(CONNECT_S):
        addresses = await _addresses(host, port, look_up)
        made = await _first(make, addresses, port)
        try:
            await _joined(factory, made, host, is_tls=url.scheme == "https")
        except BaseException:
            made.close()
            raise


async def _addresses(host: str, port: int, look_up: Resolve) -> Sequence[str]:
    if (literal := literal_of(host)) is not None:
        return [literal]
    found = await look_up(host, port)
    if not found:
        raise OSError("its host has no address")
    return found


async def _first(
    make: Callable[[Any], socket.socket], addresses: Sequence[str], port: int
) -> socket.socket:
    loop, fault = asyncio.get_running_loop(), OSError("its host has no address")
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            made = make((family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)))
        except OSError as error:
            fault = error
            continue
        try:
            await loop.sock_connect(made, (address, port))
        except OSError as error:
            made.close()
            fault = error
        except BaseException:
            made.close()
            raise
        else:
            return made
    raise fault


async def _joined(
    factory: Callable[[], asyncio.Protocol], made: socket.socket, host: str, *, is_tls: bool
) -> None:
    loop = asyncio.get_running_loop()
    name, context = (host, _tls()) if is_tls else (None, None)
    await loop.create_connection(factory, sock=made, ssl=context, server_hostname=name)


@cache
def _tls() -> ssl.SSLContext:
    """One per process: making one takes 30 ms."""
    return ssl.create_default_context()
