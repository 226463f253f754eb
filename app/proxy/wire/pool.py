"""One HTTP client per process for all remote servers, and what its failures mean.

A request that may have reached the server is never sent again, except where its method changes
nothing (`is_repeatable`). Only one that met a connection already closed, so that not a byte of it
left, takes another.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache

import aiohttp
from yarl import URL

from app import __version__
from app.kernel.egress import Resolve, check_target, resolve
from app.kernel.errors import AppError
from app.proxy.faults import output_too_large, protocol_error, server_down
from app.proxy.wire.faults import UnreachableError
from app.proxy.wire.guard import ClosedTargetError, make_session
from app.proxy.wire.types import Target

_UNSENT = "Cannot write to closing transport"
_FIXED = {"User-Agent": f"uaol/{__version__}", "Accept-Encoding": "identity"}


class Pool:
    """The connections of this process to remote servers; made when first used."""

    def __init__(self, look_up: Resolve = resolve) -> None:
        self._look_up = look_up
        self._sessions: dict[bool, aiohttp.ClientSession] = {}

    def _session(self, *, allow_private: bool) -> aiohttp.ClientSession:
        if (session := self._sessions.get(allow_private)) is None:
            session = make_session(allow_private=allow_private, look_up=self._look_up)
            self._sessions[allow_private] = session
        return session

    async def close(self) -> None:
        """Close every connection."""
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()

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
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The server's response as it begins; its body is read inside the context.

        `url` is another address of the target's origin. Raises `UnreachableError`,
        `tool_server_down`, also for a redirect, and `tool_protocol_error` for a compressed body,
        here and out of the block.
        """
        place = address_of(target)
        if url is not None and url.origin() != place.origin():
            raise server_down(target.name, "names an address of another origin")
        sent = {**_FIXED, **target.headers, **headers}
        try:
            async with await self._begin(
                target, method, url or place, sent, body, is_repeatable=is_repeatable
            ) as response:
                _check(target, response)
                yield response
        except (aiohttp.ClientError, OSError) as error:
            raise read_failure(target, error) from error

    async def _begin(
        self,
        target: Target,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        is_repeatable: bool,
    ) -> aiohttp.ClientResponse:
        session = self._session(allow_private=target.allow_private)
        try:
            return await session.request(
                method, url, headers=headers, data=body, allow_redirects=False
            )
        except aiohttp.ClientError as error:
            if not (_was_unsent(error) or (is_repeatable and _was_cut(error))):
                raise
        return await session.request(method, url, headers=headers, data=body, allow_redirects=False)


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


def read_failure(target: Target, error: Exception) -> AppError:
    """What a failure of the HTTP client means for whoever called."""
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError):
        return UnreachableError.because(target.name, f"cannot be reached ({_reason(error)})")
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return UnreachableError.because(target.name, "cannot be reached (no answer in time)")
    if isinstance(error, aiohttp.InvalidURL):
        return server_down(target.name, "has a URL that cannot be used")
    return server_down(target.name, f"broke off its answer ({type(error).__name__})")


async def read_all(response: aiohttp.ClientResponse, target: Target) -> bytes:
    """The whole body. Raises `tool_output_too_large` at the first byte past the limit."""
    limit = target.output_limit
    if (response.content_length or 0) > limit:
        raise output_too_large(target.name, limit)
    parts, size = [], 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > limit:
            raise output_too_large(target.name, limit)
        parts.append(part)
    return b"".join(parts)


def _check(target: Target, response: aiohttp.ClientResponse) -> None:
    if 300 <= response.status < 400:
        raise server_down(target.name, f"answers with a redirect (HTTP {response.status})")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise protocol_error(target.name, "compresses its answer, which nobody asked for")


def _reason(error: Exception) -> str:
    cause = getattr(error, "os_error", None) or error
    return str(cause) if isinstance(cause, ClosedTargetError) else type(cause).__name__


def _was_cut(error: BaseException) -> bool:
    return isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError) and (
        not isinstance(error, aiohttp.ClientConnectorError)
    )


def _was_unsent(error: BaseException) -> bool:
    """Whether the request met a connection that was closed before its first byte was written."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, aiohttp.ClientConnectionResetError) and _UNSENT in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
