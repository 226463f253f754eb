"""The door of one server: who may come in, which server it is, and which way the request takes.

A server that speaks the client's era over HTTP is relayed as it is. Processes, and servers of the
other era, are spoken to in their way and translated.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.transport_security import TransportSecurityMiddleware, TransportSecuritySettings
from mcp_types import INVALID_REQUEST
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal
from app.kernel.principal import Scope as Right
from app.proxy import Upstream
from app.surfaces.mcp.calls import PRINCIPAL_KEY
from app.surfaces.mcp.doors.entry import entrant_of
from app.surfaces.mcp.passthrough.exchange import read_body, send_body, while_listening
from app.surfaces.mcp.passthrough.inbound import (
    Inbound,
    RefusedMessageError,
    is_modern,
    read,
)
from app.surfaces.mcp.passthrough.links import Links
from app.surfaces.mcp.passthrough.relayed import Caller, Relayed
from app.surfaces.mcp.passthrough.states import States
from app.surfaces.mcp.passthrough.translated import UPSTREAM_KEY, Translated
from app.surfaces.operations import Operations
from app.surfaces.problems import problem

PATH = "/mcp/servers/{slug}"
_SESSION = "mcp-session-id"
_METHODS = ("GET", "POST", "DELETE")
_LISTEN = "subscriptions/listen"
_PER_MINUTE = 10


class Passthrough:
    """Serves every registered server at its own path. `run` can be entered once."""

    def __init__(self, operations: Operations, security: TransportSecuritySettings) -> None:
        self._ops = operations
        self._security = TransportSecurityMiddleware(security)
        states = States(operations.services.settings)
        self._links = Links(states)
        self._relayed = Relayed(operations, states, self._links)
        self._translated = Translated(operations)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """The lifespan of the sessions."""
        async with self._translated.run():
            yield

    def farewell(self) -> None:
        """End streams that have no end: the process is about to stop."""
        self._translated.farewell()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request that the gate let in."""
        request = Request(scope)
        refusal = await self._security.validate_request(request, is_post=scope["method"] == "POST")
        if refusal is None and scope["method"] not in _METHODS:
            refusal = PlainTextResponse("Method Not Allowed", 405, {"Allow": ", ".join(_METHODS)})
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        try:
            await self._serve(scope, receive, send)
        except RefusedMessageError as error:
            await send_body(send, error.status, error.body)
        except AppError as error:
            await problem(error, scope["path"])(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        principal = scope[PRINCIPAL_KEY]
        principal.require(Right.TOOLS)
        upstream = self._find(scope["path_params"]["slug"])
        headers, owner = Headers(scope=scope), _owner(scope)
        if is_modern(headers):
            await self._modern(Caller(principal, upstream, owner), headers, scope, receive, send)
            return
        given, link = headers.get(_SESSION), None
        if given is not None:
            link = self._links.find(given, upstream.name, owner)
            if link is None:
                # A session of the translator's, or of nobody: it knows.
                await self._translate(upstream, scope, receive, send)
                return
        caller = Caller(principal, upstream, owner, link)
        await self._legacy(caller, headers, scope, receive, send)

    def _find(self, slug: str) -> Upstream:
        upstream = self._ops.services.proxy.upstream(slug)
        if upstream is None:
            raise AppError(Code.NOT_FOUND, f"There is no server {slug[:64]!r}.")
        return upstream

    async def _modern(
        self, caller: Caller, headers: Headers, scope: Scope, receive: Receive, send: Send
    ) -> None:
        upstream = caller.upstream
        if not upstream.has_relay or await upstream.era(caller.principal) != "modern":
            await self._translate(upstream, scope, receive, send)
            return
        if scope["method"] != "POST":
            await send_body(send, 405, b"", extra=[(b"allow", b"POST")])
            return
        found = await self._read(receive, headers)
        if found is None:
            return
        if not found.is_request:
            # This revision has no messages of clients but requests.
            await send_body(send, 202, b"")
            return
        await self._admit(caller.principal)
        with self._held(scope) if found.method == _LISTEN else nullcontext():
            await while_listening(receive, self._relayed.post(caller, found, headers, send))

    async def _legacy(
        self, caller: Caller, headers: Headers, scope: Scope, receive: Receive, send: Send
    ) -> None:
        upstream, method = caller.upstream, scope["method"]
        if caller.link is None and not upstream.has_relay:
            await self._translate(upstream, scope, receive, send)
            return
        if method == "GET":
            with self._held(scope):
                await while_listening(receive, self._relayed.stream(caller, headers, send))
            return
        if method == "DELETE":
            await self._relayed.end(caller, headers, send)
            return
        body = await read_body(receive)
        if body is None:
            return
        found = read(body, headers)
        await self._admit(caller.principal)
        if found.method == "initialize" and caller.link is None:
            if not await self._relayed.open(caller, found, headers, send):
                again = _again(body, receive)
                await self._translate(upstream, scope, again, send)
            return
        if found.parts.method is None:
            await self._relayed.answer(caller, found, headers, send)
            return
        await while_listening(receive, self._relayed.post(caller, found, headers, send))

    async def _read(self, receive: Receive, headers: Headers) -> Inbound | None:
        body = await read_body(receive)
        if body is None:
            return None
        found = read(body, headers)
        if found.parts.method is None:
            raise RefusedMessageError(INVALID_REQUEST, "A client sends requests only")
        return found

    def _held(self, scope: Scope) -> AbstractContextManager[None]:
        """Count a stream that stays: there is room for so many, and one user must not take it all.

        Raises `rate_limited`.
        """
        # The gate ends it with its credential.
        return self._ops.streams.hold(entrant_of(scope), lambda _why: None)

    async def _admit(self, principal: Principal) -> None:
        """Every message counts, not calls alone, by a wider measure."""
        settings = self._ops.services.settings
        limiter = self._ops.services.proxy.limiter
        rate = settings.calls_per_minute * _PER_MINUTE
        await limiter.take(f"messages:{principal.owner}", rate)

    async def _translate(
        self, upstream: Upstream, scope: Scope, receive: Receive, send: Send
    ) -> None:
        scope[UPSTREAM_KEY] = upstream
        # The SDK lets nobody into a session but who opened it; here that includes the server.
        token = scope["user"].access_token
        client = f"{token.client_id}:{upstream.name}"
        scope["user"] = AuthenticatedUser(token.model_copy(update={"client_id": client}))
        await self._translated.handle(scope, receive, send)


def _owner(scope: Scope) -> str:
    """Whose a session is: the same user by another key or client is somebody else."""
    token = scope["user"].access_token
    issuer = (token.claims or {}).get("iss")
    return f"{token.subject} {token.client_id} {issuer}"


def _again(body: bytes, rest: Receive) -> Receive:
    """A request body that was read already, and what comes after it."""
    has_sent = False

    async def receive() -> Message:
        nonlocal has_sent
        if has_sent:
            return await rest()
        has_sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
