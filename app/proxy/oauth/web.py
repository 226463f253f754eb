"""The way to authorization servers: guarded, small answers, short times, never a redirect.

Whoever registers a server steers every one of these URLs, so each goes through the platform's
one guarded way out, and nothing of an answer but its JSON is read.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx2
import orjson

from app.kernel.egress import EgressDeniedError, GuardedTransport, check_target
from app.kernel.errors import AppError
from app.proxy.oauth.faults import failed

_TOTAL_S = 15.0
_MOST = 64 * 1024
_HEADERS = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "uaol"}


class WebAnswer(NamedTuple):
    """An answer's status and challenge, and its body if that was a JSON object."""

    status: int
    body: dict[str, Any] | None
    www_authenticate: str | None


class Web:
    """One client a process. `allow_private` is for development and tests."""

    def __init__(
        self,
        *,
        allow_private: bool = False,
        transport: httpx2.AsyncBaseTransport | None = None,
        timeout_s: float = _TOTAL_S,
    ) -> None:
        self._allow_private = allow_private
        self._transport = transport
        self._timeout_s = timeout_s

    async def get(self, url: str) -> WebAnswer:
        """Fetch a document. Raises `oauth_failed`."""
        return await self._send("GET", url, None, {})

    async def post_form(
        self, url: str, form: Mapping[str, str], auth: httpx2.BasicAuth | None = None
    ) -> WebAnswer:
        """Send a form, as token endpoints take it. Raises `oauth_failed`."""
        content = httpx2.QueryParams(dict(form))
        headers = {"content-type": "application/x-www-form-urlencoded"}
        return await self._send("POST", url, str(content).encode(), headers, auth)

    async def post_json(
        self, url: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> WebAnswer:
        """Send JSON. Raises `oauth_failed`."""
        given = {"content-type": "application/json", **(headers or {})}
        return await self._send("POST", url, orjson.dumps(dict(body)), given)

    async def close(self) -> None:
        """Close every connection."""
        if self._transport is not None:
            await self._transport.aclose()

    def check(self, url: object, what: str) -> str:
        """The URL, if it may be used at all; raises `oauth_failed`."""
        if not isinstance(url, str):
            raise failed(what, "is missing or is no URL")
        try:
            return check_target(url, allow_private=self._allow_private)
        except AppError as error:
            why = error.message.removeprefix("/url: the URL ").rstrip(".")
            raise failed(what, why) from error

    async def _send(
        self,
        method: str,
        url: str,
        content: bytes | None,
        headers: Mapping[str, str],
        auth: httpx2.BasicAuth | None = None,
    ) -> WebAnswer:
        host = host_of(self.check(url, f"The address {url[:200]}"))
        request = httpx2.Request(method, url, content=content, headers={**_HEADERS, **headers})
        if auth is not None:
            request = next(auth.auth_flow(request))
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._exchange(host, request)
        except TimeoutError as error:
            raise failed(host, f"did not answer within {self._timeout_s:g} s") from error
        except EgressDeniedError as error:
            raise failed(host, f"may not be reached: {error}") from error
        except httpx2.HTTPError as error:
            raise failed(host, f"cannot be reached ({type(error).__name__})") from error

    async def _exchange(self, host: str, request: httpx2.Request) -> WebAnswer:
        if self._transport is None:
            self._transport = GuardedTransport(allow_private=self._allow_private)
        request.extensions["timeout"] = httpx2.Timeout(self._timeout_s).as_dict()
        response = await self._transport.handle_async_request(request)
        try:
            if response.headers.get("content-encoding", "identity") != "identity":
                raise failed(host, "answers in an encoding that was not asked for")
            raw = await _read(host, response)
        finally:
            await response.aclose()
        found = response.headers.get("www-authenticate")
        return WebAnswer(response.status_code, _object(raw), found)


async def _read(host: str, response: httpx2.Response) -> bytes:
    raw = bytearray()
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    async for chunk in response.stream:
        raw += chunk
        if len(raw) > _MOST:
            raise failed(host, f"answers with more than {_MOST} bytes")
    return bytes(raw)


def _object(raw: bytes) -> dict[str, Any] | None:
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def host_of(url: str) -> str:
    """The host of a URL, for messages."""
    return urlsplit(url).netloc[:200]
