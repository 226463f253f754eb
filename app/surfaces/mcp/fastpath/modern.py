"""Requests of 2026-07-28: each by itself, its headers repeat its body."""

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from mcp.server.caching import CacheHint
from mcp.shared.inbound import validate_mcp_param_headers
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from app.kernel.errors import AppError
from app.kernel.ids import new_id
from app.kernel.principal import Principal
from app.kernel.principal import Scope as Right
from app.kernel.telemetry import request_id as current_request
from app.proxy import Route
from app.surfaces.mcp.fastpath.duties import Duties
from app.surfaces.mcp.fastpath.exchange import fits, identity_of, send_whole, watched, whole
from app.surfaces.mcp.frames import LIST, Asked, Frames
from app.surfaces.mcp.framing import Framing

Admit = Callable[[str | None], Awaitable[Principal]]
Observe = Callable[[str, str, int, float], None]
_PATH = "/mcp"
_LIST = LIST.encode()


class Lists(NamedTuple):
    """The first page of a caller's tools, each as JSON, with the next cursor; how long it holds."""

    first_page: Callable[[Principal], tuple[Sequence[bytes], str | None]]
    hint: CacheHint


class ModernRequests:
    """Answers plain calls and lists."""

    def __init__(
        self,
        admit: Admit,
        duties: Duties,
        frames: Frames,
        framing: Framing,
        lists: Lists,
        observe: Observe,
        limit: int,
    ) -> None:
        """`limit` is the largest body in bytes."""
        self._admit = admit
        self._duties = duties
        self._frames = frames
        self._framing = framing
        self._lists = lists
        self._observe = observe
        self._limit = limit

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> Receive | None:
        """Answer the request; or give what is left to receive of one for the SDK to look at."""
        head = self._frames.head(scope["headers"])
        if head is None or not fits(head, self._limit):
            return receive
        began = time.perf_counter()
        body, receive = await whole(receive, self._limit)
        if body is None:
            return receive
        handle = self._list if head[b"mcp-method"] == _LIST else self._call
        status = await handle(scope, head, body, receive, send)
        if status is None:
            return receive
        self._observe("POST", _PATH, status, time.perf_counter() - began)
        return None

    async def _call(
        self, scope: Scope, head: dict[bytes, bytes], body: bytes, receive: Receive, send: Send
    ) -> int | None:
        """The status that was sent, 499 if the caller had left; None if nothing was done."""
        taken = await self._recognise(scope, head, body)
        if taken is None:
            return None
        call_id = new_id()
        identity = identity_of(head, call_id)
        token = current_request.set(identity)
        try:
            work = self._duties.answer(*taken, call_id, self._framing)
            answer = await watched(receive, work)
        finally:
            current_request.reset(token)
        if answer is None:
            return 499
        await send_whole(send, answer, identity)
        return 200

    async def _list(
        self, scope: Scope, head: dict[bytes, bytes], body: bytes, _receive: Receive, send: Send
    ) -> int | None:
        principal = await self._caller(head)
        request_id = self._frames.read_list(head, body)
        if principal is None or request_id is None or scope["query_string"]:
            return None
        tools, cursor = self._lists.first_page(principal)
        listed = self._framing.listed(request_id, tools, cursor, self._lists.hint)
        await send_whole(send, listed, identity_of(head, new_id()))
        return 200

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
        route = self._duties.route(asked.name)
        if route is None:
            return None
        if (route.plan.headers or asked.has_param_headers) and not _agree(scope, asked, route):
            return None
        return principal, asked, route


def _agree(scope: Scope, asked: Asked, route: Route) -> bool:
    schema = route.tool.definition.input_schema
    return validate_mcp_param_headers(schema, asked.arguments, Headers(scope=scope)) is None
