"""What has changed, for whom: one task a process looks, however many clients listen."""

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import Callable
from functools import partial
from uuid import UUID

from mcp.server.subscriptions import (
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
    ToolsListChanged,
)

from app.kernel.bus import Bus
from app.kernel.clock import loop_time
from app.kernel.errors import AppError
from app.kernel.principal import Principal
from app.orchestration import Standing, job_topic, user_topic
from app.surfaces.mcp.live.toolnews import ToolNews
from app.surfaces.mcp.live.uris import is_growing
from app.surfaces.operations import Operations

# What comes right after an event goes out together with it.
_PAUSE_S = 0.1
_TICK_S = 1.0
# A wake-up may be lost with its connection.
_RECHECK_S = 15.0
_AT_ONCE = 1000
_TOOLS_TOPIC = "registry"
_CROWD = 100
_log = logging.getLogger(__name__)


class Listener:
    """A stream or a session: whose it is, what it wants to know, and how it is told."""

    __slots__ = ("deliver", "has_jobs", "has_tools", "principal", "server", "uris")

    def __init__(
        self,
        principal: Principal,
        deliver: Callable[[ServerEvent], None],
        *,
        has_tools: bool = False,
        has_jobs: bool = False,
        server: str | None = None,
    ) -> None:
        """`server` is the one whose tools matter; None for all."""
        self.principal = principal
        self.deliver = deliver
        self.has_tools = has_tools
        self.has_jobs = has_jobs
        self.server = server
        self.uris: dict[UUID, set[str]] = {}


class _Watched:
    """A job that somebody follows, as it stood when it was last looked at."""

    __slots__ = ("leave", "listeners", "standing")

    def __init__(self, standing: Standing, leave: Callable[[], None]) -> None:
        self.standing = standing
        self.leave = leave
        self.listeners: set[Listener] = set()


class Changes:
    """Tells listeners of their own jobs and tools; who may follow what is checked before.

    Wake-ups mark what to look at; what is told follows from the database and the registry's
    snapshot, so nobody is told of what did not change, nor twice within a tenth of a second.
    """

    def __init__(self, operations: Operations) -> None:
        services = operations.services
        self._jobs, self._access = services.jobs, operations.access
        self._bus = Bus(services.wakeups)
        self._tools = ToolNews(services.registry)
        self._users: dict[UUID, dict[Listener, None]] = {}
        self._leave: dict[UUID, Callable[[], None]] = {}
        self._watched: dict[UUID, _Watched] = {}
        self._stale_users: set[UUID] = set()
        self._stale_jobs: set[UUID] = set()
        self._due: dict[Listener, dict[ServerEvent, None]] = {}
        self._stirred = asyncio.Event()
        self._forget_tools: Callable[[], None] | None = None
        self._checked_at = 0.0
        self._task: asyncio.Task[None] | None = None

    def join(self, listener: Listener) -> Callable[[], None]:
        """Tell the listener from now on, until what is returned is called."""
        user_id = listener.principal.owner
        if user_id not in self._users:
            told = partial(self._on_user, user_id)
            self._leave[user_id] = self._bus.subscribe(user_topic(user_id), told)
            self._users[user_id] = {}
        self._users[user_id][listener] = None
        if self._task is None:
            self._tools.reset()
            self._forget_tools = self._bus.subscribe(_TOOLS_TOPIC, self._stirred.set)
            # Not in the context of the request that happens to be the first.
            self._task = asyncio.create_task(
                self._run(), name="mcp-changes", context=contextvars.Context()
            )
        return partial(self._part, listener)

    def watch(self, listener: Listener, uri: str, standing: Standing) -> None:
        """Also tell of a resource of one of the listener's own jobs."""
        job_id = standing.job_id
        if (watched := self._watched.get(job_id)) is None:
            leave = self._bus.subscribe(job_topic(job_id), partial(self._on_job, job_id))
            watched = self._watched[job_id] = _Watched(standing, leave)
        watched.listeners.add(listener)
        listener.uris.setdefault(job_id, set()).add(uri)
        # It may have grown after `standing` was read and before this.
        self._on_job(job_id)

    def unwatch(self, listener: Listener, job_id: UUID, uri: str) -> None:
        """Tell no more of that resource."""
        uris = listener.uris.get(job_id, set())
        uris.discard(uri)
        if not uris:
            listener.uris.pop(job_id, None)
            self._unfollow(listener, job_id)

    def _unfollow(self, listener: Listener, job_id: UUID) -> None:
        if (watched := self._watched.get(job_id)) is not None:
            watched.listeners.discard(listener)
            if not watched.listeners:
                watched.leave()
                del self._watched[job_id]

    def _part(self, listener: Listener) -> None:
        user_id = listener.principal.owner
        known = self._users.get(user_id, {})
        known.pop(listener, None)
        if not known and self._users.pop(user_id, None) is not None:
            self._leave.pop(user_id)()
        for job_id in listener.uris:
            self._unfollow(listener, job_id)
        listener.uris = {}
        self._due.pop(listener, None)
        if not self._users:
            self._rest()

    def _rest(self) -> None:
        """Nobody listens: nothing needs to be looked at."""
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._forget_tools is not None:
            self._forget_tools()
            self._forget_tools = None

    def _on_user(self, user_id: UUID) -> None:
        self._stale_users.add(user_id)
        self._stirred.set()

    def _on_job(self, job_id: UUID) -> None:
        self._stale_jobs.add(job_id)
        self._stirred.set()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_TICK_S):
                    await self._stirred.wait()
            self._stirred.clear()
            try:
                await self._round()
            except AppError as error:
                _log.warning("cannot look for changes", extra={"reason": error.message})
            except Exception:  # noqa: BLE001 - nobody watches this task, it must not end
                _log.exception("cannot look for changes")
            await asyncio.sleep(_PAUSE_S)

    async def _round(self) -> None:
        await self._look_at_tools()
        self._look_at_users()
        if loop_time() - self._checked_at > _RECHECK_S:
            self._checked_at = loop_time()
            self._stale_jobs.update(
                job_id for job_id, one in self._watched.items() if not one.standing.is_over
            )
        try:
            await self._look_at_jobs()
        finally:
            self._flush()

    async def _look_at_tools(self) -> None:
        if (difference := self._tools.take()) is None:
            return
        listeners = [each for known in self._users.values() for each in known if each.has_tools]
        for number, listener in enumerate(listeners, 1):
            if difference.is_seen_by(listener.principal, listener.server):
                self._tell(listener, ToolsListChanged())
            if number % _CROWD == 0:
                # Ten thousand lists are compared in pieces, with requests in between.
                await asyncio.sleep(0)

    def _look_at_users(self) -> None:
        users, self._stale_users = self._stale_users, set()
        for user_id in users:
            for listener in self._users.get(user_id, ()):
                # Ends of jobs that came in a crowd are told of their users alone.
                self._stale_jobs.update(listener.uris)
                if listener.has_jobs:
                    self._tell(listener, ResourcesListChanged())

    async def _look_at_jobs(self) -> None:
        while ids := [job_id for job_id in self._stale_jobs if job_id in self._watched][:_AT_ONCE]:
            async with self._access.platform() as uow:
                # Marked again from here on: the look that begins now may miss it.
                self._stale_jobs.difference_update(ids)
                try:
                    found = await self._jobs.standings(uow, ids)
                except BaseException:
                    self._stale_jobs.update(ids)
                    raise
            for standing in found:
                self._compare(standing)
        self._stale_jobs.intersection_update(self._watched)

    def _compare(self, now: Standing) -> None:
        watched = self._watched.get(now.job_id)
        if watched is None or now.seq <= watched.standing.seq:
            return
        has_ended = now.is_over and not watched.standing.is_over
        watched.standing = now
        for listener in watched.listeners:
            for uri in sorted(listener.uris.get(now.job_id, ())):
                if has_ended or is_growing(uri):
                    self._tell(listener, ResourceUpdated(uri))

    def _tell(self, listener: Listener, event: ServerEvent) -> None:
        self._due.setdefault(listener, {})[event] = None

    def _flush(self) -> None:
        due, self._due = self._due, {}
        for listener, events in due.items():
            for event in events:
                listener.deliver(event)
