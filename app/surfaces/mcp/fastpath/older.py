"""Requests of the handshake era, in a session that the SDK keeps."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from starlette.types import Receive, Scope, Send

from app.auth import Entrant
from app.kernel.errors import AppError
from app.kernel.ids import new_id
from app.kernel.principal import Principal
from app.kernel.principal import Scope as Right
from app.kernel.telemetry import request_id as current_request
from app.proxy import Route
from app.surfaces.mcp.fastpath.duties import Duties
from app.surfaces.mcp.fastpath.exchange import fits, identity_of, send_whole, whole
from app.surfaces.mcp.frames import Asked, Frames
from app.surfaces.mcp.framing import OlderFraming
from app.surfaces.mcp.sittings import HEADER, Sitting, Sittings

Enter = Callable[[str | None], Awaitable[Entrant]]
Observe = Callable[[str, str, int, float], None]
_PATH = "/mcp"
_SESSION = HEADER.encode()
_STREAM = b"text/event-stream"
_JSON = b"application/json"


class SessionRequests:
    """Answers plain calls; all else goes on to the SDK."""

    def __init__(
        self,
        enter: Enter,
        duties: Duties,
        frames: Frames,
        sittings: Sittings,
        observe: Observe,
        limit: int,
    ) -> None:
        """`limit` is the largest body in bytes."""
        self._enter = enter
        self._duties = duties
        self._frames = frames
        self._framing = OlderFraming()
        self._sittings = sittings
        self._observe = observe
        self._limit = limit

    def end(self, session: bytes) -> None:
        """Carry nothing more out in that session."""
        self._sittings.close(session)

    async def handle(
        self, session: bytes, scope: Scope, receive: Receive, send: Send
    ) -> Receive | None:
        """Answer the request; or give what is left to receive of one for the SDK to look at."""
        sitting = self._sittings.find(session)
        head = None if sitting is None else self._frames.session_head(scope["headers"])
        if sitting is None or head is None or not fits(head, self._limit):
            return receive
        began = time.perf_counter()
        body, receive = await whole(receive, self._limit)
        asked = None if body is None else self._frames.read_in_session(body)
        if isinstance(asked, bytes):
            sitting.cancel(asked)
        if not isinstance(asked, Asked):
            return receive
        taken = await self._recognise(sitting, head, asked)
        if taken is None:
            return receive
        await self._answer(sitting, head, asked, taken, send, session)
        self._observe("POST", _PATH, 200, time.perf_counter() - began)
        return None

    async def _recognise(
        self, sitting: Sitting, head: dict[bytes, bytes], asked: Asked
    ) -> tuple[Principal, Route] | None:
        """Who calls what; None if the SDK has to look at it."""
        authorization = head.get(b"authorization")
        if authorization is None or head.get(b"mcp-protocol-version") != sitting.version:
            return None
        try:
            entrant = await self._enter(authorization.decode("latin-1"))
            entrant.principal.require(Right.TOOLS)
        except AppError:
            return None
        is_plain = asked.id not in sitting.calls and sitting.suits(entrant)
        if not is_plain or not self._sittings.is_fresh(sitting):
            return None
        route = self._duties.route(asked.name)
        return None if route is None else (entrant.principal, route)

    async def _answer(
        self,
        sitting: Sitting,
        head: dict[bytes, bytes],
        asked: Asked,
        taken: tuple[Principal, Route],
        send: Send,
        session: bytes,
    ) -> None:
        """The call as a task of its own, which a message of the client's can cancel.

        That it leaves does not mean so (2025-06-18, "Streamable HTTP"). What was cancelled gets no
        answer, but its stream an end.
        """
        principal, route = taken
        call_id = new_id()
        identity = identity_of(head, call_id)
        token = current_request.set(identity)
        work = asyncio.ensure_future(
            self._duties.answer(principal, asked, route, call_id, self._framing)
        )
        sitting.calls[asked.id] = work
        answer: bytes | None = None
        try:
            answer = await work
        except asyncio.CancelledError:
            if not sitting.is_cancelled(asked.id):
                raise
        finally:
            current_request.reset(token)
            sitting.ended(asked.id)
        kind = _STREAM if answer is None else _JSON
        await send_whole(send, answer or b"", identity, kind=kind, more=[(_SESSION, session)])
