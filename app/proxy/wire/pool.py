"""HTTP to all remote servers of one process, and what its failures mean.

A request that may have reached the server is never sent again, except where its method changes
nothing (`is_repeatable`). Only one that met a connection already closed, so that not a byte of it
left, takes another.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache

from yarl import URL

from app import __version__
from app.kernel.egress import Resolve, check_target, resolve
from app.kernel.errors import AppError
from app.kernel.loops import via
from app.proxy.faults import output_too_large, protocol_error, server_down
from app.proxy.wire.connection import (
    BrokenOffError,
    Connection,
    CutError,
    Response,
    UnsentError,
)
from app.proxy.wire.connections import Connections, NoRoomError, Place
from app.proxy.wire.faults import UnreachableError
from app.proxy.wire.guard import ClosedTargetError
from app.proxy.wire.types import Target

_FIXED = f"User-Agent: uaol/{__version__}\r\nAccept-Encoding: identity\r\n"
_FEWEST_LINES = 6


class Pool:
    """The connections of this process to remote servers; made when first used."""

    def __init__(self, look_up: Resolve = resolve) -> None:
        self.connections = Connections(look_up)

    async def close(self) -> None:
        """Close every connection."""
        self.connections.close()

    @asynccontextmanager
    async def send(
        self,
        target: Target,
        method: str,
        headers: Mapping[str, str],
        body: bytes | None = None,
        *,
        url: URL | None = None,
        is_repeatable: bool = False,
        is_stream: bool = False,
    ) -> AsyncIterator[Response]:
        """The server's response as it begins; its body is read inside the context.

        `url` is another address of the target's origin; a response that `is_stream` may go on for
        ever. Raises `UnreachableError`,
        `tool_server_down`, also for a redirect, and `tool_protocol_error` for a compressed body,
        here and out of the block.
        """
        origin = address_of(target)
        if url is not None and url.origin() != origin.origin():
            raise server_down(target.name, "names an address of another origin")
        to = url or origin
        request = _request(target, method, to, headers, body)
        place = (to.scheme, to.raw_host or "", to.port or 0, target.allow_private, is_stream)
        connection, response = await self._begin(
            target, place, to, request, is_repeatable=is_repeatable
        )
        try:
            _check(target, response)
            yield response
        except OSError as error:
            raise server_down(target.name, f"broke off its answer ({_reason(error)})") from error
        finally:
            self.connections.give(place, connection)

    async def _begin(
        self, target: Target, place: Place, to: URL, request: bytes, *, is_repeatable: bool
    ) -> tuple[Connection, Response]:
        for is_last in (False, True):
            try:
                connection = await self.connections.take(place, to, is_new=is_last)
            except OSError as error:
                why = f"cannot be reached ({_reason(error)})"
                raise UnreachableError.because(target.name, why) from error
            try:
                return connection, await connection.send(request)
            except BrokenOffError as error:
                self.connections.give(place, connection)
                is_safe = isinstance(error, UnsentError) or (
                    is_repeatable and isinstance(error, CutError)
                )
                if is_last or not is_safe:
                    why = f"broke off its answer ({_reason(error)})"
                    raise server_down(target.name, why) from error
            except BaseException:
                connection.close()
                self.connections.give(place, connection)
                raise
        raise AssertionError("unreachable")


def _request(
    target: Target, method: str, to: URL, headers: Mapping[str, str], body: bytes | None
) -> bytes:
    """The bytes of a whole request (RFC 9112, section 2.1)."""
    given = {**target.headers, **headers}
    lines = "".join([f"{name}: {value}\r\n" for name, value in given.items()])
    length = "" if body is None else f"Content-Length: {len(body)}\r\n"
    head = f"{_opening(method, to)}{_FIXED}Via: {via()}\r\n{lines}{length}\r\n"
    count = len(given) + _FEWEST_LINES + (body is not None)
    # A value with a line of its own would add a header, or a request.
    if head.count("\n") != count or head.count("\r") != count or "\0" in head:
        raise server_down(target.name, "was to be sent a header of more than one line")
    return head.encode() + (body or b"")


@lru_cache(maxsize=4096)
def _opening(method: str, to: URL) -> str:
    return f"{method} {to.raw_path_qs} HTTP/1.1\r\nHost: {to.host_port_subcomponent}\r\n"


@lru_cache(maxsize=4096)
def _checked(url: str, *, allow_private: bool) -> URL:
    return URL(check_target(url, allow_private=allow_private))


def address_of(target: Target) -> URL:
    """The target's URL. Raises `tool_server_down` for one that may not be used."""
    try:
        return _checked(target.url, allow_private=target.allow_private)
    except AppError as error:
        why = error.message.removeprefix("/url: the URL ").rstrip(".")
        raise server_down(target.name, f"has a URL that {why}") from error


async def read_all(response: Response, target: Target) -> bytes:
    """The whole body. Raises `tool_output_too_large` at the first byte past the limit."""
    limit = target.output_limit
    if (response.content_length or 0) > limit:
        raise output_too_large(target.name, limit)
    parts, size = [], 0
    while part := await response.chunk():
        size += len(part)
        if size > limit:
            raise output_too_large(target.name, limit)
        parts.append(part)
    return b"".join(parts)


def _check(target: Target, response: Response) -> None:
    if 300 <= response.status < 400:
        raise server_down(target.name, f"answers with a redirect (HTTP {response.status})")
    if response.headers.get("content-encoding", "identity").lower() != "identity":
        raise protocol_error(target.name, "compresses its answer, which nobody asked for")


def _reason(error: OSError) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    is_told = isinstance(error, ClosedTargetError | BrokenOffError | NoRoomError)
    return str(error) if is_told and str(error) else type(error).__name__
