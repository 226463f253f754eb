"""The guarded connector: every connection's own address is judged, at the moment it is made.

A resolver's answer is judged nowhere else, since addresses may also come as literals, and the DNS
may answer differently from one look-up to the next (rebinding). The socket factory sees exactly
the address that is then connected to.
"""

import socket
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from app.kernel.egress import Resolve, is_public, resolve

# Shorter than the five seconds after which common servers close an idle connection.
IDLE_S = 4.0
CONNECT_S = 5.0
_CONNECTIONS = 2000
_PER_SERVER = 256
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


class _Names(AbstractResolver):
    """Looks names up in the threads that all guarded connections share."""

    def __init__(self, look_up: Resolve) -> None:
        self._look_up = look_up

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a host; raises OSError if it has none."""
        found = await self._look_up(host, port)
        if not found:
            raise OSError("its host has no address")
        return [_result(host, address, port) for address in found]

    async def close(self) -> None:
        """Nothing is held."""


def _result(host: str, address: str, port: int) -> ResolveResult:
    return ResolveResult(
        hostname=host,
        host=address,
        port=port,
        family=socket.AF_INET6 if ":" in address else socket.AF_INET,
        proto=socket.IPPROTO_TCP,
        flags=socket.AI_NUMERICHOST,
    )


def make_session(*, allow_private: bool, look_up: Resolve = resolve) -> aiohttp.ClientSession:
    """An HTTP client over guarded connections: no cookies, no proxies, nothing decompressed.

    Over https it uses the one TLS context that aiohttp keeps per process (making one takes 30 ms).
    """
    connector = aiohttp.TCPConnector(
        socket_factory=any_socket if allow_private else public_socket,
        resolver=_Names(look_up),
        keepalive_timeout=IDLE_S,
        limit=_CONNECTIONS,
        limit_per_host=_PER_SERVER,
    )
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
        trust_env=False,
        auto_decompress=False,
        raise_for_status=False,
        skip_auto_headers=("User-Agent", "Accept-Encoding"),
    )
