"""The API server's wire: calls, watches and attach, with what it asks of its clients.

Throttling (429, and 503 with Retry-After) is obeyed, and safe calls are made again when the
connection breaks. Everything else that goes wrong is an `ApiError`.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp

from app.sandbox.executors.kubernetes.access import Access

_ATTEMPTS = 6
_LONGEST_WAIT = 20.0
_CALL = aiohttp.ClientTimeout(total=30.0)
_WATCH_SECONDS = 290
_LINE_BYTES = 4 * 2**20
_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_THROTTLED = (429, 503)

Query = Mapping[str, str]
Object = dict[str, Any]


class ApiError(OSError):
    """The API server said no, or nothing: `status` is HTTP's, 0 without an answer.

    `reason` is the machine-readable one of its Status object, such as `AlreadyExists`.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"the cluster answered {status or 'nothing'} ({reason}): {message}")
        self.status, self.reason, self.message = status, reason, message


class Api:
    """One cluster, spoken to over one connection pool."""

    def __init__(self, access: Access) -> None:
        """Opens nothing yet."""
        self._access = access
        self._opened: aiohttp.ClientSession | None = None

    async def get(self, path: str, query: Query | None = None) -> Object:
        """An object or a list. Raises ApiError."""
        return _read(await self._call("GET", path, query=query))

    async def text(self, path: str, query: Query | None = None) -> str:
        """An answer that is not JSON, such as a log. Raises ApiError."""
        return (await self._call("GET", path, query=query)).decode(errors="replace")

    async def create(self, path: str, body: Object) -> Object:
        """Post an object. Raises ApiError; status 0 leaves open whether it was made."""
        return _read(await self._call("POST", path, body=body))

    async def delete(self, path: str, options: Object) -> bool:
        """Delete, and say whether there was something. Raises ApiError."""
        try:
            await self._call("DELETE", path, body=options)
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return True

    async def watch(self, path: str, query: Query) -> AsyncIterator[Object]:
        """The events of a watch, until the server ends it. Raises ApiError when it is dropped."""
        asked = {**query, "watch": "1", "timeoutSeconds": str(_WATCH_SECONDS)}
        patience = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=_WATCH_SECONDS + 30)
        try:
            async with await self._request("GET", path, asked, None, patience) as response:
                if response.status != 200:
                    raise _error(response, await response.read())
                async for line in response.content:
                    yield _read(line)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _broken(error) from error

    async def attach(self, path: str, query: Query) -> aiohttp.ClientWebSocketResponse:
        """Join a container's streams; the sub-protocol is the newest both sides know.

        Raises ApiError, with status 400 or 500 while the container is not there yet.
        """
        headers = await self._headers()
        try:
            socket: aiohttp.ClientWebSocketResponse = await self._session().ws_connect(
                self._access.host + path, params=dict(query), headers=headers,
                protocols=_PROTOCOLS, heartbeat=30.0, max_msg_size=2**24, autoclose=True,
                timeout=aiohttp.ClientWSTimeout(ws_close=1.0), **self._route(),
            )  # fmt: skip
            return socket
        except aiohttp.WSServerHandshakeError as error:
            raise ApiError(error.status, "Handshake", error.message) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _broken(error) from error

    async def close(self) -> None:
        """Close the connections."""
        if self._opened is not None:
            await self._opened.close()
        self._opened = None

    async def _call(
        self, method: str, path: str, query: Query | None = None, body: Object | None = None
    ) -> bytes:
        for attempt in range(_ATTEMPTS):
            is_last = attempt == _ATTEMPTS - 1
            try:
                async with await self._request(method, path, query, body, _CALL) as response:
                    data = await response.read()
                    if response.status < 300:
                        return data
                    wait = _throttled(response, attempt)
                    if wait is None or is_last:
                        raise _error(response, data)
            except (aiohttp.ClientError, TimeoutError) as error:
                if method == "POST" or is_last:
                    raise _broken(error) from error
                wait = _backoff(attempt)
            await asyncio.sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    async def _request(
        self,
        method: str,
        path: str,
        query: Query | None,
        body: Object | None,
        patience: aiohttp.ClientTimeout,
    ) -> aiohttp.ClientResponse:
        return await self._session().request(
            method, self._access.host + path, params=dict(query or {}), json=body,
            headers=await self._headers(), timeout=patience,
            # an API server does not redirect, and the token must not follow one
            allow_redirects=False, **self._route(),
        )  # fmt: skip

    async def _headers(self) -> dict[str, str]:
        value = await asyncio.to_thread(self._access.authorization)
        return {"Accept": "application/json, */*", **({"Authorization": value} if value else {})}

    def _route(self) -> dict[str, Any]:
        chosen: dict[str, Any] = {"proxy": self._access.proxy}
        if self._access.tls is not None:
            chosen.update(ssl=self._access.tls, server_hostname=self._access.server_name)
        return chosen

    def _session(self) -> aiohttp.ClientSession:
        if self._opened is None:
            self._opened = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0), read_bufsize=_LINE_BYTES
            )
        return self._opened


def _throttled(response: aiohttp.ClientResponse, attempt: int) -> float | None:
    """Seconds to wait before asking again, or None where that would not help."""
    if response.status not in _THROTTLED:
        return None
    told = response.headers.get("Retry-After", "")
    wait = float(told) if told.isdigit() else _backoff(attempt)
    return min(wait, _LONGEST_WAIT)


def _backoff(attempt: int) -> float:
    return min(0.1 * 2.0**attempt, 5.0)


def _error(response: aiohttp.ClientResponse, data: bytes) -> ApiError:
    try:
        status = json.loads(data)
        reason, message = str(status["reason"]), str(status["message"])
    except (ValueError, TypeError, KeyError):
        reason, message = response.reason or "Unknown", data[:300].decode(errors="replace")
    return ApiError(response.status, reason, message)


def _broken(error: Exception) -> ApiError:
    return ApiError(0, type(error).__name__, str(error) or "the connection broke")


def _read(data: bytes) -> Object:
    try:
        value = json.loads(data)
    except ValueError as error:
        raise ApiError(0, "NotJson", data[:100].decode(errors="replace")) from error
    if not isinstance(value, dict):
        raise ApiError(0, "NotAnObject", data[:100].decode(errors="replace"))
    return value
