"""Keeps one server connected: started once, kept warm, started again with growing pauses.

The SDK's client must be entered and left in the same task, so one task per server holds it open;
calls from other tasks go through the client object.
"""

import asyncio
import logging
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import anyio
from mcp import Client
from mcp.shared.exceptions import MCPError

from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal
from app.proxy.backends.base import Connector, Greeting, Link
from app.proxy.backends.changes import follow_changes
from app.proxy.backends.exchange import ask
from app.proxy.definitions import definitions_of, list_all
from app.proxy.faults import server_down, tool_timeout
from app.proxy.telling import Teller
from app.proxy.types import OnListed, RawResult, ServerHealth, ToolCall
from app.registry import Tool, ToolDefinition

START_LIMIT_S = 30.0
STABLE_S = 30.0
FIRST_PAUSE_S = 0.05
# A server that cannot start costs a start each time; one that starts and dies fails calls while
# it is away.
LONGEST_PAUSE_S = 30.0
LONGEST_CRASH_PAUSE_S = 2.0
RESTART_WAIT_S = 15.0
PROBE_S = 2.0
TIMEOUTS_IN_A_ROW = 3
HOPELESS = 3
_RELIST_PAUSE_S = 1.0
_CLOSE_S = 10.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Session:
    """A connection that takes calls."""

    link: Link
    client: Client
    definitions: dict[str, ToolDefinition]


class SupervisedBackend:
    """The tools of a server reached over MCP, whatever the transport."""

    def __init__(
        self,
        connector: Connector,
        on_listed: OnListed | None = None,
        *,
        start_limit_s: float = START_LIMIT_S,
        probe_s: float = PROBE_S,
    ) -> None:
        self.server = connector.server
        self.reads_local_files = connector.reads_local_files
        self._connector = connector
        self._on_listed = on_listed
        self._start_limit_s, self._probe_s = start_limit_s, probe_s
        self._session: _Session | None = None
        self._changed = asyncio.Event()
        self._settled = asyncio.Event()
        self._is_closing = False
        self._link: Link | None = None
        self._task: asyncio.Task[None] | None = None
        self._probes: set[asyncio.Task[None]] = set()
        self._definitions: tuple[ToolDefinition, ...] = ()
        self._greeting: Greeting | None = None
        self._starts = self._failures = self._crashes = self._timeouts = 0
        self._error: AppError | None = None

    async def start(self) -> None:
        """Return once the first start has worked, or failed and will be tried again."""
        if self._task is None:
            name = f"server-{self.server.name}"
            self._task = asyncio.create_task(self._supervise(), name=name)
        await self._settled.wait()

    async def list_tools(self) -> Sequence[ToolDefinition]:
        return self._definitions

    def health(self) -> ServerHealth:
        return ServerHealth(
            name=self.server.name,
            is_up=self._open_session is not None,
            tools=len(self._definitions),
            error=None if self._error is None else self._error.message,
            restarts=max(0, self._starts - 1),
        )

    def recheck(self) -> None:
        """List the tools again soon; a server that cannot be listed is connected anew."""
        if self._link is not None:
            self._link.mark_stale()

    async def close(self) -> None:
        """End the server; calls still running get `tool_server_down`."""
        self._is_closing = True
        self._changed.set()
        for probe in self._probes:
            probe.cancel()
        if self._link is not None:
            self._link.end()
        if self._task is None:
            return
        with suppress(asyncio.CancelledError, TimeoutError):
            async with asyncio.timeout(_CLOSE_S):
                await self._task

    async def call(
        self, tool: Tool, call: ToolCall, arguments: dict[str, Any], timeout_s: float
    ) -> RawResult:
        """Run a tool on the warm server; never sent twice."""
        session = await self._ready(timeout_s)
        _refuse_drift(session, tool)
        try:
            async with asyncio.timeout(timeout_s):
                result = await self._connector.send(
                    session.client, session.link, tool, call, arguments
                )
        except TimeoutError as error:
            self._suspect(session)
            raise tool_timeout(tool.full_name, timeout_s) from error
        self._timeouts = 0
        return result

    def greeting(self) -> Greeting:
        """What the server said when it last started."""
        if self._greeting is None:
            raise server_down(self.server.name) from self._error
        return self._greeting

    async def check(self, tool: Tool, timeout_s: float) -> None:
        """Raise unless the running server describes the tool as it was approved."""
        _refuse_drift(self._open_session or await self._ready(timeout_s), tool)

    async def ask(
        self,
        _principal: Principal,
        method: str,
        params: Mapping[str, Any],
        timeout_s: float,
        on_progress: Teller | None = None,
    ) -> dict[str, Any]:
        """The result of any request over the warm connection."""
        session = await self._ready(timeout_s)
        try:
            async with asyncio.timeout(timeout_s):
                return await ask(session.client, session.link, method, params, on_progress)
        except TimeoutError as error:
            self._suspect(session)
            raise tool_timeout(f"{self.server.name} {method}", timeout_s) from error

    async def _ready(self, timeout_s: float) -> _Session:
        """The open session; a server that is just being started again is waited for."""
        with suppress(TimeoutError):
            async with asyncio.timeout(min(timeout_s, RESTART_WAIT_S)):
                while self._open_session is None and not self._is_hopeless:
                    self._changed.clear()
                    await self._changed.wait()
        if (session := self._open_session) is None:
            raise server_down(self.server.name) from self._error
        return session

    @property
    def _open_session(self) -> _Session | None:
        session = self._session
        return None if session is None or session.link.ended.is_set() else session

    @property
    def _is_hopeless(self) -> bool:
        return self._is_closing or self._task is None or self._failures >= HOPELESS

    async def _supervise(self) -> None:
        while not self._is_closing:
            link = self._link = Link(self.server.name)
            began, starts = anyio.current_time(), self._starts
            try:
                await self._run(link)
                self._error = link.fault
            # Whatever a stranger's server provokes in the SDK, it must not end its supervisor.
            except Exception as error:  # noqa: BLE001
                self._error = self._explain(error, link)
            self._withdraw()
            self._count(has_started=self._starts > starts, lived_s=anyio.current_time() - began)
            self._announce()
            if not self._is_closing:
                await self._pause()

    def _count(self, *, has_started: bool, lived_s: float) -> None:
        """Count starts that failed, and lives that were short, in a row."""
        self._failures = 0 if has_started else self._failures + 1
        self._crashes = 0 if lived_s > STABLE_S else self._crashes + 1

    async def _run(self, link: Link) -> None:
        """One life of the server, from its start to its end."""
        with anyio.fail_after(self._start_limit_s) as scope:
            async with self._connector.open(link) as client:
                await self._list(link, client)
                scope.deadline = math.inf
                self._starts += 1
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(follow_changes, client, link)
                    await self._serve(link, client)
                    tasks.cancel_scope.cancel()

    async def _serve(self, link: Link, client: Client) -> None:
        """Stay until the connection ends, and list the tools again when they change."""
        while not link.ended.is_set() and not self._is_closing:
            await link.wake.wait()
            link.wake.clear()
            if link.is_stale and not link.ended.is_set():
                link.is_stale = False
                await self._list(link, client)
                with anyio.move_on_after(_RELIST_PAUSE_S):
                    await link.ended.wait()
        self._withdraw()

    async def _list(self, link: Link, client: Client) -> None:
        """Read the server's tools, tell who pins them, and only then take calls."""
        listed = await list_all(client, self.server.name, link.scrubber)
        definitions = definitions_of(self.server, listed)
        if self._on_listed is not None:
            await self._on_listed(self.server, definitions)
        self._definitions, self._greeting = definitions, Greeting.of(client, link.scrubber)
        self._session = _Session(link, client, {item.name: item for item in definitions})
        self._error = None
        self._announce()

    def _withdraw(self) -> None:
        self._session = None

    def _announce(self) -> None:
        self._settled.set()
        self._changed.set()

    async def _pause(self) -> None:
        longest = LONGEST_PAUSE_S if self._failures else LONGEST_CRASH_PAUSE_S
        pause = min(longest, FIRST_PAUSE_S * 2 ** min(self._crashes, 10))
        reason = self._error.message if self._error else "it ended"
        _log.warning("%s starts again in %.1f s: %s", self.server.name, pause, reason)
        deadline = anyio.current_time() + pause
        while not self._is_closing and (left := deadline - anyio.current_time()) > 0:
            self._changed.clear()
            with anyio.move_on_after(left):
                await self._changed.wait()

    def _suspect(self, session: _Session) -> None:
        """After a time-out: end a server that answers no more, or too often not in time."""
        self._timeouts += 1
        if self._timeouts >= TIMEOUTS_IN_A_ROW:
            self._timeouts = 0
            session.link.fail(server_down(self.server.name, "timed out too often"))
            return
        probe = asyncio.create_task(self._probe(session))
        self._probes.add(probe)
        probe.add_done_callback(self._probes.discard)

    async def _probe(self, session: _Session) -> None:
        # Asked twice: the first time may be over because this process itself stood still.
        if not (await self._answers(session) or await self._answers(session)):
            session.link.fail(server_down(self.server.name, "hung and was ended"))

    async def _answers(self, session: _Session) -> bool:
        try:
            async with asyncio.timeout(self._probe_s / 2):
                await session.client.list_tools(cache_mode="bypass")
        except (TimeoutError, MCPError, RuntimeError, ValueError):
            return False
        return True

    def _explain(self, error: Exception, link: Link) -> AppError:
        cause: BaseException = error
        while isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        if (known := link.fault or link.noted) is not None:
            return known
        if isinstance(cause, AppError):
            return cause
        if isinstance(cause, TimeoutError):
            limit = f"did not start within {self._start_limit_s:g} s"
            return server_down(self.server.name, limit)
        return server_down(self.server.name, f"failed ({type(cause).__name__}: {str(cause)[:200]})")


def _refuse_drift(session: _Session, tool: Tool) -> None:
    """Refuse a tool that the running server describes otherwise than was approved."""
    now = session.definitions.get(tool.definition.name)
    if now is None:
        raise AppError(
            Code.TOOL_UNKNOWN,
            f"The server {tool.server} no longer offers {tool.full_name}.",
            hint="List the tools to see what there is.",
        )
    if now.sha256 != tool.definition.sha256:
        raise AppError(
            Code.TOOL_DEFINITION_CHANGED,
            f"The server of {tool.full_name} now describes it differently than was approved.",
            hint="An operator has to approve the new definition.",
            details={"tool": tool.full_name},
        )
