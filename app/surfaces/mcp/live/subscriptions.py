"""`subscriptions/listen` of the 2026-07-28 era: a stream of changes of the caller's own things."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID

import mcp_types as types
from mcp.server.subscriptions import ListenHandler, ServerEvent

from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal, Scope
from app.orchestration import Standing
from app.surfaces.mcp.calls import Call, Context
from app.surfaces.mcp.live.changes import Changes, Listener
from app.surfaces.mcp.live.uris import job_of
from app.surfaces.mcp.results import Result, protocol_error
from app.surfaces.operations import Operations

MOST_URIS = 1000
RATE_LIMITED = -32010
"""JSON-RPC code of a refusal for too much at once, of those left to servers."""

_BACKLOG = 256
# A key may have been revoked, or have lost a scope, since the stream was opened.
_LIFE_S = 3600.0


class Standings:
    """How jobs stand that a caller asks to follow; those of others are as if they did not exist."""

    def __init__(self, operations: Operations) -> None:
        self._jobs, self._access = operations.services.jobs, operations.access

    async def of(self, principal: Principal, uris: Sequence[str]) -> dict[str, Standing]:
        """The standing of the job of each URI that is the principal's own."""
        jobs = {uri: job_id for uri in uris if (job_id := job_of(uri)) is not None}
        if not jobs:
            return {}
        principal.require(Scope.FILES)
        async with self._access.read(principal) as uow:
            found = await self._jobs.standings(uow, sorted(set(jobs.values())))
        own = {each.job_id: each for each in found if each.user_id == principal.owner}
        return {uri: own[job_id] for uri, job_id in jobs.items() if job_id in own}


class _OwnEvents:
    """The SDK's bus as one stream sees it: its caller's events and no others."""

    def __init__(self, changes: Changes, listener: Listener, own: dict[str, Standing]) -> None:
        self._changes = changes
        self._listener = listener
        self._own = own

    async def publish(self, event: ServerEvent) -> None:
        """Tell this stream alone; the platform's own events come from `Changes`."""
        self._listener.deliver(event)

    def subscribe(self, listener: Callable[[ServerEvent], None]) -> Callable[[], None]:
        self._listener.deliver = listener
        leave = self._changes.join(self._listener)
        for uri, standing in self._own.items():
            self._changes.watch(self._listener, uri, standing)
        return leave


class Subscriptions:
    """Opens streams. The acknowledgement names what the caller may follow, and nothing else."""

    def __init__(self, operations: Operations, changes: Changes) -> None:
        settings = operations.services.settings
        self._changes = changes
        self._standings = Standings(operations)
        self._most, self._most_of_user = settings.listen_streams, settings.listen_streams_per_user
        self._open: Counter[UUID] = Counter()
        self._count = 0
        self._streams: set[ListenHandler] = set()

    async def listen(
        self,
        context: Context,
        params: types.SubscriptionsListenRequestParams,
        server: str | None = None,
    ) -> Result:
        """Serve one stream until the client goes, or for an hour: it then asks again.

        With a `server`, of changes in that one's list of tools and nothing else.
        """
        principal, wanted = Call.of(context).principal, params.notifications
        if server is not None:
            wanted = types.SubscriptionFilter(tools_list_changed=wanted.tools_list_changed)
        with self._slot(principal.owner):
            honored, own = await self._honored(principal, wanted)
            listener = Listener(
                principal,
                lambda _event: None,
                has_tools=bool(honored.tools_list_changed),
                has_jobs=bool(honored.resources_list_changed),
                server=server,
            )
            events = _OwnEvents(self._changes, listener, own)
            handler = ListenHandler(events, max_subscriptions=1, max_buffered_events=_BACKLOG)
            asked = params.model_copy(update={"notifications": honored})
            result = await self._serve(handler, context, asked)
        return result.model_dump(by_alias=True, mode="json", exclude_none=True)

    async def _serve(
        self,
        handler: ListenHandler,
        context: Context,
        params: types.SubscriptionsListenRequestParams,
    ) -> types.SubscriptionsListenResult:
        self._streams.add(handler)
        timer = asyncio.get_running_loop().call_later(_LIFE_S, handler.close)
        try:
            return await handler(context, params)
        finally:
            timer.cancel()
            self._streams.discard(handler)

    def close(self) -> None:
        """End every stream with its result, so that clients know it was meant."""
        for handler in tuple(self._streams):
            handler.close()

    async def _honored(
        self, principal: Principal, wanted: types.SubscriptionFilter
    ) -> tuple[types.SubscriptionFilter, dict[str, Standing]]:
        uris = list(dict.fromkeys(wanted.resource_subscriptions or ()))
        if len(uris) > MOST_URIS:
            raise AppError(
                Code.INVALID_INPUT,
                f"A stream follows at most {MOST_URIS} resources, not {len(uris)}.",
                hint="Open a second stream, or follow the list alone.",
            )
        has_files = bool(principal.scopes & {Scope.FILES, Scope.ADMIN})
        own = await self._standings.of(principal, uris) if has_files else {}
        update = {
            "resource_subscriptions": [uri for uri in uris if uri in own] or None,
            "resources_list_changed": wanted.resources_list_changed if has_files else None,
        }
        return wanted.model_copy(update=update), own

    @contextmanager
    def _slot(self, user_id: UUID) -> Iterator[None]:
        """A place for a stream, or `rate_limited`."""
        is_user = self._open[user_id] >= self._most_of_user
        if is_user or self._count >= self._most:
            who = "You have" if is_user else "The server has"
            error = AppError(
                Code.RATE_LIMITED,
                f"{who} as many open subscriptions as are allowed.",
                hint="Close one; a single stream can follow many resources.",
                details={"retry_after_s": 60},
            )
            raise protocol_error(error, RATE_LIMITED)
        self._open[user_id] += 1
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1
            self._open[user_id] -= 1
            if not self._open[user_id]:
                del self._open[user_id]
