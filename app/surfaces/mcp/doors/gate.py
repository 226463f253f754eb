"""Lets in who has a credential, and makes problem documents of the transports' plain refusals."""

from collections.abc import Callable
from contextlib import ExitStack

import orjson
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.auth import Entrant
from app.kernel.errors import AppError, Code
from app.kernel.loops import HEADER, check
from app.kernel.principal import Principal
from app.kernel.principal import Scope as Right
from app.surfaces.context import Access
from app.surfaces.mcp.doors.entry import enter
from app.surfaces.mcp.doors.line import Answer, Line
from app.surfaces.mcp.doors.resource import Resource
from app.surfaces.problems import code_of, problem
from app.surfaces.streams import Streams

Needs = Callable[[str], Right | None]
"""The scope that a tool, by its name, needs; None if it needs none or is unknown."""


class Gate:
    """Before every HTTP endpoint of MCP.

    A token (not a key, which never gets more rights) that lacks the scope of the tool it calls is
    answered with 403 before the call begins, so that its client can ask its user for more: the
    "step-up" of MCP's authorization.
    """

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        resource: Resource,
        streams: Streams,
        *,
        needs: Needs | None = None,
        limit: int = 0,
    ) -> None:
        """`limit` is the largest body, in bytes, that is looked into for the tool's name."""
        self._app = app
        self._access = access
        self._resource = resource
        self._streams = streams
        self._needs = needs
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        authorization = Headers(scope=scope).get("authorization")
        try:
            if (via := ", ".join(Headers(scope=scope).getlist(HEADER))) != "":
                check(via)
            entrant = await self._access.admit(authorization)
        except AppError as error:
            answer = await self._refusal(scope, error, authorization)
            await answer(scope, receive, send)
            return
        enter(scope, entrant)
        if self._may_step_up(scope, entrant):
            body, receive = await _peeked(receive, self._limit)
            if (missing := self._missing(body, entrant.principal)) is not None:
                await self._step_up(scope, entrant.principal, missing)(scope, receive, send)
                return
        await self._serve(entrant, scope, Line(receive), send)

    async def _serve(self, entrant: Entrant, scope: Scope, line: Line, send: Send) -> None:
        """Let it through; an answer that is a stream ends with the credential."""
        with ExitStack() as followed:
            answer = Answer(
                send, lambda: followed.enter_context(self._streams.follow(entrant, line.end))
            )
            await self._app(scope, line, Spoken(scope, line, answer))
        # A stream that the server ended is not at its end for the client.
        await answer.finish()

    async def _refusal(
        self, scope: Scope, error: AppError, authorization: str | None
    ) -> JSONResponse:
        # A page of another origin learns nothing, and a foreign Host is not repeated to anybody.
        if (foreign := await self._resource.refusal(scope)) is not None:
            return foreign
        response = problem(error, scope["path"])
        if error.code is Code.UNAUTHENTICATED:
            said = self._resource.challenge(scope, "invalid_token" if authorization else None)
            response.headers["www-authenticate"] = said
        return response

    def _may_step_up(self, scope: Scope, entrant: Entrant) -> bool:
        is_token = entrant.principal.key_id is None
        return is_token and self._needs is not None and scope["method"] == "POST"

    def _missing(self, body: bytes, principal: Principal) -> AppError | None:
        name = _tool_of(body)
        right = self._needs(name) if name is not None and self._needs is not None else None
        try:
            if right is not None:
                principal.require(right)
        except AppError as error:
            return error
        return None

    def _step_up(self, scope: Scope, principal: Principal, error: AppError) -> JSONResponse:
        response = problem(error, scope["path"])
        scopes = sorted({*principal.scopes, str(error.details["scope"])})
        said = self._resource.challenge(scope, "insufficient_scope", scopes)
        response.headers["www-authenticate"] = said
        return response


def _tool_of(body: bytes) -> str | None:
    """The tool that a message calls; what cannot be read is left to the transport."""
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(message, dict) or message.get("method") != "tools/call":
        return None
    params = message.get("params")
    name = params.get("name") if isinstance(params, dict) else None
    return name if isinstance(name, str) else None


async def _peeked(receive: Receive, limit: int) -> tuple[bytes, Receive]:
    """A body up to its end or the limit, and a `receive` that brings all of it again."""
    seen: list[Message] = []
    body = bytearray()
    while True:
        message = await receive()
        seen.append(message)
        body += message.get("body", b"")
        if len(body) > limit or not message.get("more_body", False):
            break
    again = iter(seen)

    async def replayed() -> Message:
        for message in again:
            return message
        return await receive()

    return bytes(body), replayed


class Spoken:
    """Replaces refusals without a JSON body (bad Host, Origin, Accept, size) by problem JSON."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._refusal: int | None = None
        self._reason = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _is_plain_refusal(message):
            self._refusal = message["status"]
            return
        if self._refusal is None or message["type"] != "http.response.body":
            await self._send(message)
            return
        self._reason += message.get("body", b"")
        if not message.get("more_body", False):
            await self._refuse(self._refusal)

    async def _refuse(self, status: int) -> None:
        reason = self._reason.decode(errors="replace") or "The transport refused the request"
        error = AppError(code_of(status), f"{reason}.", hint="See the transports of MCP.")
        await problem(error, self._scope["path"], status)(self._scope, self._receive, self._send)


def _is_plain_refusal(message: Message) -> bool:
    headers = Headers(raw=message.get("headers", []))
    return message["status"] >= 400 and "json" not in headers.get("content-type", "")
