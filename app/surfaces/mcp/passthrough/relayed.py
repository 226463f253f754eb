"""Carries one request to the server and what comes back to the client, in the era both speak.

Nothing is translated: events, progress, questions of the server and its errors are its own. Only
calls are charged on the way, lists of tools cut to what is approved, states sealed, and requests
of sessions sent under ids of our own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import orjson
from mcp_types import INVALID_PARAMS, METHOD_NOT_FOUND
from starlette.datastructures import Headers
from starlette.types import Send

from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal
from app.proxy import Reply, Upstream, cut, join_params, split_params
from app.surfaces.mcp.passthrough import untasked
from app.surfaces.mcp.passthrough.charged import ChargedCall, refusal
from app.surfaces.mcp.passthrough.eventids import Asked, EventIds
from app.surfaces.mcp.passthrough.exchange import (
    Edit,
    OnFault,
    send_body,
    with_session,
    write,
)
from app.surfaces.mcp.passthrough.inbound import Inbound, check_params, onward_headers
from app.surfaces.mcp.passthrough.late import LateAnswers
from app.surfaces.mcp.passthrough.links import Link, Links
from app.surfaces.mcp.passthrough.listing import approved
from app.surfaces.mcp.passthrough.requestids import RequestIds, Session
from app.surfaces.mcp.passthrough.states import States
from app.surfaces.operations import Operations

_SESSION = b"mcp-session-id"
_LAST = "Last-Event-ID"
_CALL = "tools/call"
_REFUSALS = (400, 404, 405)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks which server, in which session if any."""

    principal: Principal
    upstream: Upstream
    owner: str
    link: Link | None = None

    @property
    def session(self) -> Session:
        """Their session with that server; one for all requests without any."""
        upstream_id = "" if self.link is None else self.link.upstream_id
        return self.owner, self.upstream.name, upstream_id


class Relayed:
    """The way through for what needs no translation."""

    def __init__(self, operations: Operations, states: States, links: Links) -> None:
        self._ops, self._states, self._links = operations, states, links
        self._late = LateAnswers(operations)
        self._requests = RequestIds()

    async def post(self, caller: Caller, found: Inbound, headers: Headers, send: Send) -> None:
        """Send a message on and write what comes back. Raises AppError before anything was."""
        if found.is_request and found.method == _CALL:
            await self._call(caller, found, headers, send)
            return
        if found.method.startswith(untasked.METHODS):
            error = found.refuse(METHOD_NOT_FOUND, "Tasks of a server are not passed through")
            # In a session, 404 would say that the session is gone.
            await send_body(send, error.status if found.is_modern else 200, error.body)
            return
        state, sent = self._state(caller, found), self._requests.renamed(found, caller.session)
        body = sent.encode(join_params(split_params(found.parts.params) | state) if state else None)

        async def edit(message: bytes) -> bytes:
            return self._edited(caller, sent, message)

        onward = onward_headers(headers, found)
        asked = _asked(found, sent) if found.is_request else None
        await self._exchange(
            caller, "POST", onward, body, edit, send, is_repeatable=True, asked=asked
        )

    async def answer(self, caller: Caller, found: Inbound, headers: Headers, send: Send) -> None:
        """Send on what the client answers to a question of the server's."""

        async def edit(message: bytes) -> bytes:
            return message

        onward = onward_headers(headers, None) | {"Content-Type": "application/json"}
        await self._exchange(caller, "POST", onward, found.encode(), edit, send)

    async def stream(self, caller: Caller, headers: Headers, send: Send) -> None:
        """What the server says by itself; or the rest of a stream that broke off."""
        onward, asked = onward_headers(headers, None), None
        if (given := headers.get(_LAST)) is not None:
            found = self._ids(caller).open(given)
            if found is None:
                raise _unknown_event()
            onward[_LAST], asked = found

        async def edit(message: bytes) -> bytes:
            return await self._late.edited(caller.principal, caller.upstream.name, asked, message)

        await self._exchange(
            caller, "GET", onward, None, edit, send, is_repeatable=True, asked=asked
        )

    async def end(self, caller: Caller, headers: Headers, send: Send) -> None:
        """End the session, here and at the server."""

        async def edit(message: bytes) -> bytes:
            return message

        await self._exchange(caller, "DELETE", onward_headers(headers, None), None, edit, send)

    async def open(self, caller: Caller, found: Inbound, headers: Headers, send: Send) -> bool:
        """Pass a handshake on; False, with nothing written, if the server knows none."""
        onward = onward_headers(headers, found)
        sent = self._requests.renamed(found, caller.session)
        asked = _asked(found, sent)
        async with caller.upstream.open(
            caller.principal, "POST", onward, sent.encode(), is_repeatable=True
        ) as reply:
            # A handshake that is refused, by a server of the newer era: it knows none.
            era = await caller.upstream.era(caller.principal) if reply.status in _REFUSALS else ""
            if era == "modern":
                return False

            async def edit(message: bytes) -> bytes:
                return asked.named(untasked.greeting(message))

            ids = self._ids(caller, reply.session_id)
            mark = partial(ids.seal, asked=asked)
            await write(reply, send, edit, self._session(caller, reply), mark=mark)
            return True

    def _session(self, caller: Caller, reply: Reply) -> list[tuple[bytes, bytes]]:
        """The header of the session that begins with this reply, if one does."""
        if reply.session_id is None or caller.link is not None:
            return []
        link = self._links.open(caller.upstream.name, caller.owner, reply.session_id)
        return [(_SESSION, link.session_id.encode())]

    async def _call(self, caller: Caller, found: Inbound, headers: Headers, send: Send) -> None:
        name, arguments = found.params.get("name"), found.params.get("arguments")
        if not isinstance(name, str) or not isinstance(arguments, dict | None):
            raise found.refuse(INVALID_PARAMS, "A call has a name, and arguments in an object")
        state = self._state(caller, found)
        onward = onward_headers(headers, found) | self._repeated(caller, name, found, headers)
        call = ChargedCall(
            self._ops.calls, caller.principal, caller.upstream, name, arguments or {}
        )
        try:
            given = split_params(found.parts.params) | state
            values = untasked.plain_call(given, found.params)
            values["arguments"] = orjson.dumps(await call.admitted())
            await self._carry(caller, call, found, onward, join_params(values), send)
        except AppError as error:
            call.give_up(error)
            await send_body(send, 200, refusal(found.parts.id, error))
        finally:
            # An answer that is fetched later is paid for then.
            call.give_up()

    async def _carry(
        self,
        caller: Caller,
        call: ChargedCall,
        found: Inbound,
        onward: Mapping[str, str],
        params: bytes,
        send: Send,
    ) -> None:
        """Send an admitted call and settle it with its answer."""
        has_answer, sent = False, self._requests.renamed(found, caller.session)

        async def edit(message: bytes) -> bytes:
            nonlocal has_answer
            if not _answers(message, sent.parts.id):
                return message
            has_answer = True
            instead = await call.settle(message)
            return self._sealed(caller, found, message) if instead is None else instead

        def on_fault(error: AppError) -> bytes | None:
            call.give_up(error)
            return None if has_answer else refusal(found.parts.id, error)

        await self._exchange(
            caller,
            "POST",
            onward,
            sent.encode(params),
            edit,
            send,
            on_fault=on_fault,
            tool=call.tool,
            asked=_asked(found, sent, call),
        )

    async def _exchange(
        self,
        caller: Caller,
        method: str,
        headers: Mapping[str, str],
        body: bytes | None,
        edit: Edit,
        send: Send,
        *,
        is_repeatable: bool = False,
        on_fault: OnFault | None = None,
        tool: str | None = None,
        asked: Asked | None = None,
    ) -> None:
        async def named(message: bytes) -> bytes:
            edited = await edit(message)
            return edited if asked is None else asked.named(edited)

        upstream_id = None if caller.link is None else caller.link.upstream_id
        async with caller.upstream.open(
            caller.principal,
            method,
            with_session(headers, upstream_id),
            body,
            is_repeatable=is_repeatable,
            tool=tool,
        ) as reply:
            mark = partial(self._ids(caller).seal, asked=asked)
            await write(reply, send, named, [], on_fault, mark)

    def _ids(self, caller: Caller, session: str | None = None) -> EventIds:
        """The ids of events in the caller's session, or in one that begins."""
        known = session if caller.link is None else caller.link.upstream_id
        return EventIds(self._states, caller.owner, caller.upstream.name, known)

    def _repeated(
        self, caller: Caller, name: str, found: Inbound, headers: Headers
    ) -> dict[str, str]:
        tool = self._ops.services.registry.snapshot().find(f"{caller.upstream.name}.{name}")
        if tool is None or not found.is_modern:
            return {}
        return check_params(found, tool.definition.input_schema, headers)

    def _edited(self, caller: Caller, found: Inbound, message: bytes) -> bytes:
        if found.method == "tools/list" and _answers(message, found.parts.id):
            snapshot = self._ops.services.registry.snapshot()
            return approved(message, caller.upstream.name, caller.principal, snapshot)
        if found.method == "server/discover":
            return untasked.greeting(message)
        return self._sealed(caller, found, message)

    def _place(self, caller: Caller, found: Inbound) -> tuple[str, str, str]:
        what = found.params.get("name", found.params.get("uri", ""))
        return caller.upstream.name, found.method, str(what)

    def _state(self, caller: Caller, found: Inbound) -> dict[str, bytes]:
        """The server's own state, where the request brings one back."""
        if not found.is_modern or (given := found.params.get("requestState")) is None:
            return {}
        owner, place = str(caller.principal.owner), self._place(caller, found)
        opened = self._states.open(given, owner, *place) if isinstance(given, str) else None
        if opened is None:
            raise found.refuse(
                INVALID_PARAMS,
                "requestState is not the one that was given, or has expired; ask anew",
            )
        return {"requestState": orjson.dumps(opened)}

    def _sealed(self, caller: Caller, found: Inbound, message: bytes) -> bytes:
        """The message, a state for the client to carry sealed for its owner."""
        if not found.is_modern or b'"requestState"' not in message:
            return message
        try:
            parts = cut(message)
            values = split_params(parts.result)
            state = orjson.loads(values["requestState"])
        except (ValueError, KeyError):
            return message
        if not isinstance(state, str):
            return message
        sealed = self._states.seal(state, str(caller.principal.owner), *self._place(caller, found))
        values["requestState"] = orjson.dumps(sealed)
        return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (parts.id, join_params(values))


def _asked(found: Inbound, sent: Inbound, call: ChargedCall | None = None) -> Asked:
    if call is None:
        return Asked(found.method, found.parts.id, sent.parts.id)
    return Asked(found.method, found.parts.id, sent.parts.id, call.call_id, call.tool)


def _unknown_event() -> AppError:
    return AppError(
        Code.INVALID_INPUT,
        "The Last-Event-ID is none of this session's, or is older than a day.",
        hint="Open the stream without it, or call again.",
    )


def _answers(message: bytes, request_id: bytes) -> bool:
    """Whether a message is the answer to the request of that id."""
    try:
        parts = cut(message)
    except ValueError:
        return False
    return parts.is_answer and parts.id in (request_id, b"null", b"")
