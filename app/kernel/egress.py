"""The one guarded way out to addresses that users name.

A name is resolved here, every address it has is checked, and the connection goes to one of the
checked addresses while TLS keeps the name: an answer of the DNS that changes in between (DNS
rebinding) changes nothing. Redirects are not followed, proxies of the environment not used.
"""

import asyncio
import ipaddress
import re
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpcore2
import httpx2

from app.kernel.errors import AppError, Code

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host, as text; raises `OSError` if it has none."""

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_LONGEST_URL = 2048
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[?[0-9A-Fa-f:.]+\]?")
_CONNECT_S = 5.0
_IDLE_S = 4.0
_NO_ADDRESS = "its host has no address"
_NOT_PUBLIC = "its host has an address that is not public"

# IANA's registries of special-purpose addresses, multicast, and what a cloud keeps for itself.
_CLOSED_4 = [
    ipaddress.IPv4Network(block)
    for block in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
]
# Of IPv6 only global unicast is open (RFC 4291, section 2.4). That leaves out loopback, unique
# local, link-local, multicast, IPv4-mapped and both NAT64 prefixes (RFC 6052, RFC 8215).
_OPEN_6 = ipaddress.IPv6Network("2000::/3")
_CLOSED_6 = [
    ipaddress.IPv6Network(block)
    for block in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "2620:4f:8000::/48")
]
# Threads of their own, more than connections: a name server that never answers keeps one beyond
# its time-out, and must not use up everybody's.
_names = ThreadPoolExecutor(64, thread_name_prefix="egress-names")


class EgressDeniedError(httpx2.ConnectError):
    """The target is none that may be reached from here."""


class _ClosedError(httpcore2.ConnectError):
    """As `EgressDeniedError`, below the HTTP client."""


def is_public(address: str) -> bool:
    """Whether an IP address, as text, is one of the public internet's."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv4Address):
        return not any(found in block for block in _CLOSED_4)
    return found in _OPEN_6 and not any(found in block for block in _CLOSED_6)


def literal_of(host: str) -> str | None:
    """The address a host is spelt as, if it is one: also `2130706433`, `0x7f.1`, `0177.0.0.1`."""
    text = host.strip("[]")
    try:
        return str(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(text))
    except (OSError, UnicodeEncodeError):
        return None


def check_target(url: str, *, allow_private: bool = False) -> str:
    """The URL as it will be used, or `invalid_input` if it can be no target.

    What its name stands for is checked at each connection.
    """
    if len(url) > _LONGEST_URL:
        raise _refused(f"is longer than {_LONGEST_URL} characters")
    try:
        parsed = httpx2.URL(url)
        port = parsed.port
    except (httpx2.InvalidURL, ValueError, TypeError):
        raise _refused("is not a URL") from None
    if parsed.scheme != "https" and not (allow_private and parsed.scheme == "http"):
        raise _refused("does not begin with https://")
    host = parsed.raw_host.decode()
    if not _HOST.fullmatch(host) or not (port is None or 0 < port < 65536):
        raise _refused("names no host and port that can be reached")
    if parsed.userinfo or parsed.fragment:
        raise _refused("has a user name, a password or a fragment")
    literal = literal_of(parsed.host)
    if literal is not None and not allow_private and not is_public(literal):
        raise _refused("has an address that is not public")
    return str(parsed)


def _refused(why: str) -> AppError:
    return AppError(
        Code.INVALID_INPUT,
        f"/url: the URL {why}.",
        hint="Give an https:// URL of a host on the public internet.",
        details={"pointer": "/url"},
    )


async def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses that the machine's resolver knows."""
    loop = asyncio.get_running_loop()
    found = await loop.run_in_executor(_names, _look_up, host, port)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _look_up(host: str, port: int) -> list[Any]:
    try:
        return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except UnicodeError as error:
        raise OSError(_NO_ADDRESS) from error


class _GuardedNetwork(httpcore2.AsyncNetworkBackend):
    """Connects to addresses it has checked itself."""

    def __init__(self, look_up: Resolve, *, allow_private: bool) -> None:
        self._resolve = look_up
        self._allow_private = allow_private
        self._network = httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """A connection to the first checked address that answers in time."""
        until = time.monotonic() + (_CONNECT_S if timeout is None else timeout)
        addresses = await self._checked(host, port, until)
        fault: Exception = httpcore2.ConnectTimeout("no address answers in time")
        for place, address in enumerate(addresses):
            left = until - time.monotonic()
            if left <= 0:
                break
            share = left / (len(addresses) - place)
            try:
                return await self._network.connect_tcp(
                    address, port, share, local_address, socket_options
                )
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                fault = error
        raise fault

    async def _checked(self, host: str, port: int, until: float) -> Sequence[str]:
        try:
            async with asyncio.timeout(until - time.monotonic()):
                found = await self._resolve(host, port)
        except TimeoutError:
            raise httpcore2.ConnectTimeout("its host's name is not resolved in time") from None
        except OSError:
            raise httpcore2.ConnectError(_NO_ADDRESS) from None
        if not found:
            raise httpcore2.ConnectError(_NO_ADDRESS)
        if not self._allow_private and not all(is_public(address) for address in found):
            raise _ClosedError(_NOT_PUBLIC)
        return found

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        """Never: nothing outside is reached by one."""
        raise _ClosedError("a socket of this machine is no target")

    async def sleep(self, seconds: float) -> None:
        """Wait between two tries of the pool."""
        await asyncio.sleep(seconds)


class GuardedTransport(httpx2.AsyncHTTPTransport):
    """Sends requests to public addresses only, over https.

    `allow_private` lifts both rules, for development and tests. Raises `EgressDeniedError` for a
    target that is closed, else what httpx2 raises.
    """

    def __init__(
        self,
        *,
        allow_private: bool = False,
        look_up: Resolve = resolve,
        tls: ssl.SSLContext | None = None,
        max_connections: int = 100,
    ) -> None:
        context = tls or ssl.create_default_context()
        super().__init__(verify=context, trust_env=False)
        self._allow_private = allow_private
        self._pool = httpcore2.AsyncConnectionPool(
            ssl_context=context,
            max_connections=max_connections,
            max_keepalive_connections=max_connections // 4,
            keepalive_expiry=_IDLE_S,
            network_backend=_GuardedNetwork(look_up, allow_private=allow_private),
        )

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request as it is; a redirect is an answer like any other."""
        if request.url.scheme != "https" and not self._allow_private:
            raise EgressDeniedError("only https:// is open", request=request)
        try:
            return await super().handle_async_request(request)
        except httpx2.ConnectError as error:
            if isinstance(error.__cause__, _ClosedError):
                raise EgressDeniedError(str(error), request=request) from error
            raise
