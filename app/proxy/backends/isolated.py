"""One process per user, for servers that keep things of their callers in memory.

A process of nobody's lists the tools and is kept warm as ever; calls go to the caller's own, which
is started at the first call and closed when it was idle for long.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from time import monotonic
from typing import Any

from app.kernel.principal import Principal
from app.proxy.backends.base import Greeting
from app.proxy.backends.supervised import SupervisedBackend
from app.proxy.faults import server_down
from app.proxy.telling import Teller
from app.proxy.types import RawResult, ServerHealth, ToolCall
from app.registry import Tool, ToolDefinition

MOST = 16
IDLE_S = 300.0
_SWEEP_S = 15.0


class _Own:
    """A user's process; `calls` under way keep it."""

    def __init__(self, backend: SupervisedBackend) -> None:
        self.backend = backend
        self.calls = 0
        self.used = 0.0


class IsolatedBackend:
    """The tools of a server that wants a process for each user."""

    def __init__(
        self,
        shared: SupervisedBackend,
        make: Callable[[], SupervisedBackend],
        *,
        most: int = MOST,
        idle_s: float = IDLE_S,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.server = shared.server
        self.reads_local_files = shared.reads_local_files
        self._shared, self._make = shared, make
        self._most, self._idle_s, self._clock = most, idle_s, clock
        self._own: OrderedDict[str, _Own] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()
        self._sweeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the process that lists the tools; see `ToolBackend.start`."""
        if self._sweeper is None:
            name = f"sweep-{self.server.name}"
            self._sweeper = asyncio.create_task(self._sweep_for_ever(), name=name)
        await self._shared.start()

    async def list_tools(self) -> Sequence[ToolDefinition]:
        return await self._shared.list_tools()

    def health(self) -> ServerHealth:
        return self._shared.health()

    def greeting(self) -> Greeting:
        """What the server says of itself."""
        return self._shared.greeting()

    async def check(self, tool: Tool, timeout_s: float) -> None:
        """Raise unless the tool is described as it was approved."""
        await self._shared.check(tool, timeout_s)

    async def call(
        self, tool: Tool, call: ToolCall, arguments: dict[str, Any], timeout_s: float
    ) -> RawResult:
        """Run a tool in the caller's own process."""
        with self.held(call.principal) as backend:
            await backend.start()
            return await backend.call(tool, call, arguments, timeout_s)

    async def ask(
        self,
        principal: Principal,
        method: str,
        params: Mapping[str, Any],
        timeout_s: float,
        on_progress: Teller | None = None,
    ) -> dict[str, Any]:
        """Send any request to the caller's own process."""
        with self.held(principal) as backend:
            await backend.start()
            return await backend.ask(principal, method, params, timeout_s, on_progress)

    async def close(self) -> None:
        """End every process."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._sweeper
        for user in list(self._own):
            self._drop(user)
        await asyncio.gather(self._shared.close(), *self._closing)

    def sweep(self) -> None:
        """Close the processes that were idle for long."""
        now = self._clock()
        for user, own in list(self._own.items()):
            if own.calls == 0 and now - own.used > self._idle_s:
                self._drop(user)

    @property
    def users(self) -> list[str]:
        """Who has a process, the longest unused first."""
        return list(self._own)

    @contextmanager
    def held(self, principal: Principal) -> Iterator[SupervisedBackend]:
        """The caller's own process, not taken away within the block.

        Raises `tool_server_down` if as many others as may be are busy.
        """
        user = str(principal.user_id or "")
        if (own := self._own.get(user)) is None:
            self._make_room()
            own = self._own[user] = _Own(self._make())
        own.calls += 1
        self._own.move_to_end(user)
        try:
            yield own.backend
        finally:
            own.calls -= 1
            own.used = self._clock()

    def _make_room(self) -> None:
        """Close the longest idle process if there are as many as may be."""
        if len(self._own) < self._most:
            return
        for user, own in self._own.items():
            if own.calls == 0:
                self._drop(user)
                return
        raise server_down(self.server.name, f"is busy for {self._most} users, as many as it may")

    def _drop(self, user: str) -> None:
        own = self._own.pop(user)
        task = asyncio.create_task(own.backend.close(), name=f"close-{self.server.name}")
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _sweep_for_ever(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            self.sweep()
