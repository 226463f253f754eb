"""What clients of the handshake era are told on their session's own stream.

They get the same changes as a stream of `subscriptions/listen`: of lists always, since that era
cannot ask for them, of resources once they have subscribed.
"""

import asyncio

import mcp_types as types
from mcp.server.connection import Connection
from mcp.server.subscriptions import ResourcesListChanged, ResourceUpdated, ServerEvent

from app.kernel.clock import SystemClock
from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal, Scope
from app.surfaces.mcp.calls import Call, Context
from app.surfaces.mcp.live.changes import Changes, Listener
from app.surfaces.mcp.live.connections import connection_of, is_modern
from app.surfaces.mcp.live.logmessages import LEVEL_KEY
from app.surfaces.mcp.live.subscriptions import MOST_URIS, Standings
from app.surfaces.mcp.live.uris import job_of
from app.surfaces.mcp.results import Result
from app.surfaces.mcp.sittings import Sittings
from app.surfaces.operations import Operations

_KEY = "uaol.session"


class _Session:
    """One session as a listener. It has a task only while something is on its way to it."""

    def __init__(
        self,
        principal: Principal,
        connection: Connection,
        changes: Changes,
        server: str | None = None,
    ) -> None:
        has_jobs = server is None and bool(principal.scopes & {Scope.FILES, Scope.ADMIN})
        self.listener = Listener(
            principal, self._deliver, has_tools=True, has_jobs=has_jobs, server=server
        )
        self._connection = connection
        self._leave = changes.join(self.listener)
        # Each once: a client that reads slowly is told what changed, not how often.
        self._pending: dict[ServerEvent, None] = {}
        self._sending: asyncio.Task[None] | None = None

    def close(self) -> None:
        self._leave()
        if self._sending is not None:
            self._sending.cancel()

    def _deliver(self, event: ServerEvent) -> None:
        self._pending[event] = None
        if self._sending is None:
            self._sending = asyncio.create_task(self._send(), name="mcp-session-events")

    async def _send(self) -> None:
        try:
            while self._pending:
                event = next(iter(self._pending))
                del self._pending[event]
                await self._tell(event)
        finally:
            self._sending = None

    async def _tell(self, event: ServerEvent) -> None:
        if isinstance(event, ResourceUpdated):
            await self._connection.send_resource_updated(event.uri)
        elif isinstance(event, ResourcesListChanged):
            await self._connection.send_resource_list_changed()
        else:
            await self._connection.send_tool_list_changed()


def _require_session(context: Context) -> None:
    """Refuse what would be forgotten with this answer."""
    if not connection_of(context).has_standalone_channel:
        raise AppError(
            Code.CONFLICT,
            "This server keeps no sessions, so it can tell nothing after this answer.",
            hint="Use subscriptions/listen and log levels of 2026-07-28, or look again.",
        )


def tell_of_tools(context: Context, changes: Changes, server: str) -> None:
    """Tell a session, from now on, of changes in one server's list of tools."""
    if not is_modern(context) and connection_of(context).has_standalone_channel:
        _joined(context, changes, server)


def _joined(context: Context, changes: Changes, server: str | None = None) -> _Session:
    """The session behind a request, as a listener until it ends."""
    connection = connection_of(context)
    known = connection.state.get(_KEY)
    if isinstance(known, _Session):
        return known
    session = _Session(Call.of(context).principal, connection, changes, server)
    connection.state[_KEY] = session
    connection.exit_stack.callback(session.close)
    return session


class Sessions:
    """Joins sessions to the changes, and keeps what they subscribe to."""

    def __init__(self, operations: Operations, changes: Changes) -> None:
        self._changes = changes
        self._standings = Standings(operations)
        self.sittings = Sittings(SystemClock())

    async def initialized(self, context: Context, _params: object) -> None:
        """A session is there: tell it of its lists from now on."""
        if not is_modern(context) and connection_of(context).has_standalone_channel:
            self._session(context)
            state = connection_of(context).state
            self.sittings.open(context, connection_of(context), lambda: LEVEL_KEY in state)

    async def subscribe(self, context: Context, params: types.SubscribeRequestParams) -> Result:
        """Follow one of the caller's resources; `not_found` for anything else."""
        _require_session(context)
        principal, uri = Call.of(context).principal, str(params.uri)
        standing = (await self._standings.of(principal, [uri])).get(uri)
        if standing is None:
            raise AppError(Code.NOT_FOUND, "There is no such resource.", hint="List the resources.")
        listener = self._session(context).listener
        if sum(map(len, listener.uris.values())) >= MOST_URIS:
            raise AppError(
                Code.RATE_LIMITED,
                f"A session follows at most {MOST_URIS} resources.",
                hint="Unsubscribe from one first.",
            )
        self._changes.watch(listener, uri, standing)
        return {}

    async def unsubscribe(self, context: Context, params: types.UnsubscribeRequestParams) -> Result:
        """Follow a resource no more; nothing happens if it was not followed."""
        _require_session(context)
        uri = str(params.uri)
        if (job_id := job_of(uri)) is not None:
            self._changes.unwatch(self._session(context).listener, job_id, uri)
        return {}

    async def set_level(self, context: Context, params: types.SetLevelRequestParams) -> Result:
        """Send this session log messages of that level and above."""
        _require_session(context)
        connection_of(context).state[LEVEL_KEY] = params.level
        return {}

    def _session(self, context: Context) -> _Session:
        return _joined(context, self._changes)
