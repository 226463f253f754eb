"""The fast way in: plain calls of remote tools and lists of tools, without the SDK on either side.

It stands before everything else on the path `/mcp` and takes what it knows to be good, up to the
point where the SDK would call its handler; all else goes on to the SDK untouched. Then come the
duties, in this order: who calls, Host, header = body, limits, schema, credits, secrets, the
upstream, its answer's size and shape, settling, metering.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any
from uuid import UUID

from mcp.server.caching import CacheHint
from mcp.shared.inbound import validate_mcp_param_headers
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.billing import Promise
from app.kernel.errors import AppError
from app.kernel.ids import new_id
from app.kernel.principal import Principal
from app.kernel.principal import Scope as Right
from app.kernel.telemetry import request_id as current_request
from app.proxy import FastCalls, FastResult, Route
from app.surfaces.mcp.doors import security
from app.surfaces.mcp.frames import LIST, Asked, Frames, Framing
from app.surfaces.mcp.results import failure
from app.surfaces.mcp.rights import RightfulServer
from app.surfaces.operations import Operations
from app.surfaces.payloads import check_json
from app.surfaces.problems import unexpected
from app.surfaces.toolcharges import ToolCharges

PATH = "/mcp"
_LIST = LIST.encode()
_PATIENCE_S = 0.05
_LONGEST_GIVEN = 64

Admit = Callable[[str | None], Awaitable[Principal]]
Observe = Callable[[str, str, int, float], None]


class FastPath:
    """An ASGI application before another one."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        admit: Admit,
        calls: FastCalls,
        charges: ToolCharges,
        frames: Frames,
        framing: Framing,
        observe: Observe,
        full_name: Callable[[str], str],
        first_page: Callable[[Principal], tuple[Sequence[bytes], str | None]],
        hint: CacheHint,
        limit: int,
    ) -> None:
        """`hint` says how long lists hold, `full_name` gives the tool of an alias.

        `limit` is the largest body in bytes.
        """
        self._app = app
        self._admit = admit
        self._calls = calls
        self._charges = charges
        self._frames = frames
        self._framing = framing
        self._observe = observe
        self._full_name = full_name
        self._first_page = first_page
        self._hint = hint
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        head = self._frames.head(scope["headers"])
        if head is None or not self._fits(head):
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        body, receive = await _whole(receive, self._limit)
        if body is not None and head[b"mcp-method"] == _LIST:
            listed = await self._listed(scope, head, body)
            if listed is None:
                await self._app(scope, receive, send)
                return
            self._observe("POST", PATH, 200, time.perf_counter() - began)
            await _send(send, listed, _identity(head, new_id()))
            return
        taken = None if body is None else await self._recognise(scope, head, body)
        if taken is None:
            await self._app(scope, receive, send)
            return
        call_id = new_id()
        identity = _identity(head, call_id)
        token = current_request.set(identity)
        try:
            answer = await self._watched(receive, self._answer(*taken, call_id))
        finally:
            current_request.reset(token)
        self._observe("POST", PATH, 499 if answer is None else 200, time.perf_counter() - began)
        if answer is not None:
            await _send(send, answer, identity)

    def _fits(self, head: dict[bytes, bytes]) -> bool:
        length = head.get(b"content-length", b"0")
        return length.isdigit() and int(length) <= self._limit

    async def _listed(self, scope: Scope, head: dict[bytes, bytes], body: bytes) -> bytes | None:
        """The caller's tools; None if the SDK has to look at the request."""
        principal = await self._caller(head)
        request_id = self._frames.read_list(head, body)
        if principal is None or request_id is None or scope["query_string"]:
            return None
        tools, cursor = self._first_page(principal)
        return self._framing.listed(request_id, tools, cursor, self._hint)

    async def _caller(
        self, head: dict[bytes, bytes], right: Right | None = None
    ) -> Principal | None:
        """Who calls, with that right; the SDK's way tells everybody else what is wrong."""
        authorization = head.get(b"authorization")
        if authorization is None:
            return None
        try:
            principal = await self._admit(authorization.decode("latin-1"))
            if right is not None:
                principal.require(right)
        except AppError:
            return None
        return principal

    async def _recognise(
        self, scope: Scope, head: dict[bytes, bytes], body: bytes
    ) -> tuple[Principal, Asked, Route] | None:
        """Who calls what; None if the SDK has to look at it."""
        principal = await self._caller(head, Right.TOOLS)
        if principal is None:
            return None
        asked = self._frames.read(head, body)
        if asked is None:
            return None
        route = self._calls.route(self._full_name(asked.name))
        if route is None:
            return None
        if (route.plan.headers or asked.has_param_headers) and not _agree(scope, asked, route):
            return None
        return principal, asked, route

    async def _answer(
        self, principal: Principal, asked: Asked, route: Route, call_id: UUID
    ) -> bytes:
        """The duties; the response as bytes, whatever happens."""
        began, outcome = time.perf_counter(), "ok"
        try:
            check_json(asked.arguments)
            await self._calls.admit(principal, route, asked.arguments)
            promise = await self._charges.promise(principal, route.tool, call_id)
            result, charged = await self._carried(principal, asked, route, promise)
        except AppError as error:
            outcome = error.code.value
            return self._framing.refused(asked.id, failure(error))
        except Exception as error:  # noqa: BLE001 - the border; its cause is in the log
            told = unexpected(error, f"tools/call {asked.name}")
            outcome = told.code.value
            return self._framing.refused(asked.id, failure(told))
        finally:
            self._calls.observe(route, outcome, time.perf_counter() - began)
        if result.error is not None:
            return self._framing.refused(asked.id, failure(result.error))
        return self._framing.answered(asked.id, result.content, result.structured, charged)

    async def _carried(
        self, principal: Principal, asked: Asked, route: Route, promise: Promise
    ) -> tuple[FastResult, int]:
        """The tool's answer and what it cost; without one nothing is charged."""
        try:
            result = await self._calls.carry(principal, route, asked.arguments, asked.raw)
        except BaseException:
            self._charges.refund(promise)
            raise
        took = {
            "wall_ms": result.wall_ms,
            "bytes_in": len(asked.raw),
            "bytes_out": result.bytes_out,
        }
        is_error = result.error is not None
        return result, self._charges.settle(promise, route.tool, took, is_error=is_error)

    async def _watched(self, receive: Receive, work: Awaitable[bytes]) -> bytes | None:
        """The answer, or None if the caller left before it came: then the call is cancelled."""
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        watch = _Watch(receive, task)
        # Most calls are over before a task that waits for the caller to leave would pay.
        timer = loop.call_later(_PATIENCE_S, watch.begin)
        try:
            return await work
        except asyncio.CancelledError:
            if not watch.has_left:
                raise
            task.uncancel()
            return None
        finally:
            timer.cancel()
            watch.end()


class _Watch:
    """Cancels a task when the caller leaves."""

    def __init__(self, receive: Receive, task: "asyncio.Task[Any]") -> None:
        self._receive = receive
        self._task = task
        self._waiting: asyncio.Task[None] | None = None
        self.has_left = False

    def begin(self) -> None:
        """Begin to listen."""
        self._waiting = asyncio.create_task(self._wait(), name="caller")

    def end(self) -> None:
        """Listen no more."""
        if self._waiting is not None:
            self._waiting.cancel()

    async def _wait(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.has_left = True
        self._task.cancel()


def _identity(head: dict[bytes, bytes], other: UUID) -> str:
    given = head.get(b"x-request-id", b"").decode("latin-1")
    return given if given and _is_identity(given) else str(other)


def _agree(scope: Scope, asked: Asked, route: Route) -> bool:
    schema = route.tool.definition.input_schema
    return validate_mcp_param_headers(schema, asked.arguments, Headers(scope=scope)) is None


def _is_identity(text: str) -> bool:
    plain = text.replace("-", "").replace("_", "").replace(".", "")
    return 0 < len(text) <= _LONGEST_GIVEN and text.isascii() and (plain.isalnum() or not plain)


async def _whole(receive: Receive, limit: int) -> tuple[bytes | None, Receive]:
    """The body, and a `receive` that brings it again; None for one that is too large or ends."""
    message = await receive()
    seen = [message]
    size = len(message.get("body", b""))
    while message["type"] == "http.request" and message.get("more_body", False) and size <= limit:
        message = await receive()
        seen.append(message)
        size += len(message.get("body", b""))
    is_whole = message["type"] == "http.request" and size <= limit
    body = b"".join([one.get("body", b"") for one in seen]) if is_whole else None
    return body, _Replayed(seen, receive)


class _Replayed:
    """Brings messages that were received before, then the rest."""

    def __init__(self, seen: list[Message], receive: Receive) -> None:
        self._seen = seen[::-1]
        self._receive = receive

    async def __call__(self) -> Message:
        return self._seen.pop() if self._seen else await self._receive()


async def _send(send: Send, body: bytes, identity: str) -> None:
    headers = [
        (b"content-length", b"%d" % len(body)),
        (b"content-type", b"application/json"),
        (b"x-request-id", identity.encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def install(app: Starlette, operations: Operations, server: RightfulServer) -> None:
    """Put the fast way before an application, whose own MCP server is `server`."""
    services = operations.services
    settings = services.settings
    assert server.first_page is not None
    app.add_middleware(
        FastPath,
        admit=operations.access.authenticate,
        calls=services.proxy.fast,
        charges=operations.calls.charges,
        frames=Frames(security(settings)),
        framing=Framing(server.server_info_stamp),
        observe=services.metrics.observe_http,
        full_name=lambda name: name,
        first_page=server.first_page,
        hint=server.cache_hints[LIST],
        limit=settings.request_limit,
    )
