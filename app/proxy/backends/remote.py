"""A tool server reached over HTTP.

The connection that is supervised is the SDK's: it negotiates, lists the tools and follows their
changes. Calls go over the wire, which is an order of magnitude cheaper.

A configured server's URL is the operator's, so the guard is against what the server or the network
makes of it: no redirect is followed, plain HTTP goes only to loopback or to a host the operator
lists in `hosts`, and over https the certificate is checked before any header leaves. Environment
proxies are ignored and nothing of the caller's own request is passed on. Registered servers are
strangers': the pool they are given checks every address as well.
"""

import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from time import monotonic
from typing import Any

import httpx2
import orjson
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from app.kernel.errors import AppError
from app.kernel.loops import HEADER, via
from app.kernel.principal import Principal
from app.proxy.backends.base import Link
from app.proxy.backends.exchange import current
from app.proxy.backends.raw import raw_error, raw_result
from app.proxy.carrying import Progress, carry, param_headers
from app.proxy.credentials import Credentials
from app.proxy.faults import leads_back, output_too_large, protocol_error, server_down
from app.proxy.telling import teller
from app.proxy.types import RawResult, ToolCall
from app.proxy.wire import HttpWire, Target, UnreachableError
from app.registry import ServerConfig, Tool

_CONNECT_S = 10.0
# Shorter than the five seconds after which common servers close an idle connection.
_IDLE_S = 4.0
_MISSING = 404
_UNREACHABLE = 502
# Whoever calls keeps the tool's own time.
_LONGEST_S = 3600.0
_WINDOW_S = 60.0
_MEDIA_TYPES = ("application/json", "text/event-stream")


class HttpPool:
    """The one pool of connections and the one TLS context for every remote server."""

    def __init__(self) -> None:
        self._transport: httpx2.AsyncHTTPTransport | None = None

    @property
    def transport(self) -> httpx2.AsyncHTTPTransport:
        """Made when first used: a TLS context takes 30 ms, and no server may need it."""
        if self._transport is None:
            self._transport = httpx2.AsyncHTTPTransport(
                verify=ssl.create_default_context(),
                trust_env=False,
                limits=httpx2.Limits(max_connections=100, keepalive_expiry=_IDLE_S),
            )
        return self._transport

    async def close(self) -> None:
        """Close every connection."""
        if self._transport is not None:
            await self._transport.aclose()


class RemoteConnector:
    """Speaks MCP with the server at its URL."""

    reads_local_files = False

    def __init__(
        self,
        server: ServerConfig,
        pool: HttpPool,
        *,
        target: Target,
        wire: HttpWire,
        credentials: Credentials | None = None,
    ) -> None:
        assert server.url is not None
        self.server, self.target = server, target
        self._url = httpx2.URL(server.url)
        self._pool, self._wire, self._credentials = pool, wire, credentials

    @asynccontextmanager
    async def open(self, link: Link) -> AsyncIterator[Client]:
        """Connect and negotiate. Raises `tool_server_down` where the URL may not be used."""
        check_url(self.server, self._url)
        async with self._client(link) as client:
            is_modern = client.protocol_version in MODERN_PROTOCOL_VERSIONS
            self._wire.eras.note(self.target, "modern" if is_modern else "legacy")
            yield client

    async def send(
        self,
        _client: Client | None,
        link: Link,
        tool: Tool,
        call: ToolCall,
        arguments: dict[str, Any],
    ) -> RawResult:
        """Send one call over the wire. A server that is gone is connected to anew."""
        tell = teller()
        progress = None if tell is None else Progress(tell)
        params: dict[str, Any] = {"name": tool.definition.name, "arguments": arguments}
        try:
            answer = await carry(
                self._wire,
                self.target,
                self._credentials,
                call.principal,
                "tools/call",
                orjson.dumps(params if progress is None else progress.asked(params)),
                name=tool.definition.name,
                timeout_s=_LONGEST_S,
                headers=param_headers(tool.definition, arguments),
                on_message=progress,
            )
        except UnreachableError as error:
            link.fail(error)
            raise
        if answer.body is None:
            return raw_error(answer.error or b"", self.server.name)
        return raw_result(answer.body, self.server.name)

    async def _own(self, link: Link) -> ServerConfig:
        """The server with its developer's credentials, for the platform's own connection."""
        server = self.server
        is_open = not server.secrets and server.oauth is None
        if is_open or server.developer_id is None or self._credentials is None:
            return server
        developer = Principal("user", server.developer_id)
        injected = await self._credentials.headers(developer, server.name)
        link.scrubber = injected.scrubber
        return replace(server, headers={**server.headers, **injected})

    @asynccontextmanager
    async def _client(self, link: Link) -> AsyncIterator[Client]:
        transport = _ServerTransport(
            await self._own(link), self._url, self._pool, link, self.target.output_limit
        )
        http = httpx2.AsyncClient(
            transport=transport,
            timeout=httpx2.Timeout(None, connect=_CONNECT_S),
            trust_env=False,
        )
        async with AsyncExitStack() as stack:
            streams: AbstractAsyncContextManager[Any]
            if self.target.transport == "sse":
                streams = sse_client(str(self._url), httpx_client_factory=_Given(http))
            else:
                await stack.enter_async_context(http)
                streams = streamable_http_client(
                    str(self._url), http_client=http, max_sse_event_size=None
                )
            client = Client(streams, cache=None, message_handler=link.on_message)
            yield await stack.enter_async_context(client)


class _Given:
    """A client that exists already, for the SDK to open and close."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self._http = http

    def __call__(self, *_: Any, **__: Any) -> httpx2.AsyncClient:
        return self._http


def target_of(
    server: ServerConfig, *, output_limit: int, allow_private: bool = False
) -> Target | None:
    """A server as the wire takes it; None for one that has no URL.

    Configured servers may be anywhere, a stranger's only where the operator lets all be.
    """
    if server.url is None:
        return None
    return Target(
        name=server.name,
        url=server.url,
        headers=server.headers,
        transport="sse" if server.transport == "sse" else "streamable-http",
        era=None if server.era == "auto" else server.era,
        allow_private=allow_private or not server.is_guarded,
        output_limit=output_limit,
    )


class _ServerTransport(httpx2.AsyncBaseTransport):
    """One server's view of the pool: its headers go to its origin only, and answers are capped."""

    def __init__(
        self, server: ServerConfig, url: httpx2.URL, pool: HttpPool, link: Link, limit: int
    ) -> None:
        self._server, self._url, self._pool = server, url, pool
        self._link, self._limit = link, limit

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if _origin(request.url) != _origin(self._url):
            raise httpx2.UnsupportedProtocol("another origin than the configured one")
        for name, value in self._server.headers.items():
            request.headers[name] = value
        request.headers[HEADER] = via()
        # The cap is on what comes, and what is packed grows only after it.
        request.headers["accept-encoding"] = "identity"
        try:
            response = await self._pool.transport.handle_async_request(request)
        except httpx2.TransportError as error:
            return self._unreachable(request, error)
        if (fault := self._fault(request, response)) is not None:
            _note(self._link, fault)
        # The SDK follows redirects within an origin, and unpacks, which it cannot without these.
        for name in ("location", "content-encoding"):
            response.headers.pop(name, None)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _CappedStream(
            response.stream, self._link, self._limit, is_endless=request.method == "GET"
        )
        return response

    def _unreachable(
        self, request: httpx2.Request, error: httpx2.TransportError
    ) -> httpx2.Response:
        """An answer in the server's place: an exception here would end every call in flight."""
        fault = server_down(self._server.name, f"cannot be reached ({type(error).__name__})")
        _note(self._link, fault)
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
            self._link.fail(fault)
        return httpx2.Response(_UNREACHABLE, request=request)

    def _fault(self, request: httpx2.Request, response: httpx2.Response) -> AppError | None:
        name, status = self._server.name, response.status_code
        if response.is_redirect:
            return server_down(name, f"answers with a redirect (HTTP {status})")
        if status in (401, 403):
            return server_down(name, f"refuses the configured credentials (HTTP {status})")
        if status == _MISSING and "mcp-session-id" in request.headers:
            fault = server_down(name, "has ended the session")
            self._link.fail(fault)
            return fault
        if status == HTTPStatus.LOOP_DETECTED:
            return leads_back(name)
        if response.is_server_error:
            return server_down(name, f"answers with HTTP {status}")
        if response.headers.get("content-encoding", "identity").lower() != "identity":
            return protocol_error(name, "compresses its answer, which nobody asked for")
        media_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if request.method == "POST" and status == 200 and media_type not in _MEDIA_TYPES:
            return protocol_error(name, f"answers with the content type {media_type[:60]!r}")
        return None


class _CappedStream(httpx2.AsyncByteStream):
    """Ends an answer that grows past the limit, or breaks off, for its own call only."""

    def __init__(
        self, stream: httpx2.AsyncByteStream, link: Link, limit: int, *, is_endless: bool
    ) -> None:
        self._stream, self._link, self._limit = stream, link, limit
        # What a server says of itself may go on for ever, by so many bytes a minute.
        self._is_endless = is_endless

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size, began = 0, monotonic()
        try:
            async for chunk in self._stream:
                if self._is_endless and monotonic() - began > _WINDOW_S:
                    size, began = 0, monotonic()
                size += len(chunk)
                if size > self._limit:
                    _note(self._link, output_too_large(self._link.server, self._limit))
                    raise httpx2.StreamError("the answer is too large")
                yield chunk
        except httpx2.TransportError as error:
            _note(self._link, server_down(self._link.server, "broke off its answer"))
            raise httpx2.StreamError("the answer broke off") from error

    async def aclose(self) -> None:
        await self._stream.aclose()


def check_url(server: ServerConfig, url: httpx2.URL) -> None:
    """Refuse plain HTTP to anything but loopback or a host that the server's `hosts` lists."""
    if url.scheme == "https" or url.host.lower() in server.hosts or _is_loopback(url.host):
        return
    raise server_down(
        server.name, f"is configured with plain HTTP to {url.host}, which its 'hosts' must list"
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _note(link: Link, fault: AppError) -> None:
    notes = current.get()
    if notes is None:
        link.noted = fault
    elif notes.fault is None:
        notes.fault = fault
