"""Wake-ups between processes over NOTIFY. They say "look again" and never carry truth.

A notifying commit takes a database-wide lock, so wake-ups are sent apart from the
transactions that cause them, on a connection of their own, at most once per 5 ms. What was sent
while the listening connection was lost is lost: once it is back, everybody is told to look again.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import Any
from weakref import WeakSet

from psycopg import AsyncConnection, Error

_CHANNEL = "uaol_wake"
_COALESCE_S = 0.005
_CANCEL_S = 1.0
_RETRY_S = 1.0
_START_S = 5.0
_SWEEP = 256
_log = logging.getLogger(__name__)


class Ticket:
    """Notes whether one of its topics was woken since it was taken."""

    __slots__ = ("__weakref__", "event", "topics")

    def __init__(self, topics: tuple[str, ...] = ()) -> None:
        self.event = asyncio.Event()
        self.topics = topics


class Wakeups:
    """Topics that tasks wait on. A waiter takes a ticket before it reads, so it misses nothing."""

    def __init__(self, dsn: str | None) -> None:
        self._dsn = dsn
        # Weak: a ticket that nobody holds any more is gone, and topics are without number.
        self._tickets: dict[str, WeakSet[Ticket]] = {}
        self._observers: list[Callable[[str], None]] = []
        self._gap_observers: list[Callable[[], None]] = []
        self._has_started = asyncio.Event()
        self._sweep_at = _SWEEP
        self._pending: set[str] = set()
        self._dirty = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin to listen and to send; without a DSN only this process is woken.

        Returns once others are heard, so that who follows from then on misses nothing. Where that
        takes long or fails, it goes on without, and everybody looks again when others are heard.
        """
        if self._dsn is not None and not self._tasks:
            self._tasks = [
                asyncio.create_task(self._forever(self._listen), name="wakeups-listen"),
                asyncio.create_task(self._forever(self._send), name="wakeups-send"),
            ]
            with suppress(TimeoutError):
                async with asyncio.timeout(_START_S):
                    await self._has_started.wait()
            self._has_started.set()

    async def close(self) -> None:
        """Stop both tasks and their connections."""
        tasks, self._tasks = self._tasks, []
        # Again and again: a client library may lose a cancel that comes with its own time-out.
        while waiting := [task for task in tasks if not task.done()]:
            for task in waiting:
                task.cancel()
            await asyncio.wait(waiting, timeout=_CANCEL_S)

    def wake(self, topic: str, *, is_local: bool = False) -> None:
        """Wake the waiters of this process at once and those of others within about 5 ms.

        `is_local` spares the others, who then find out when they look by themselves.
        """
        self._wake_local(topic)
        if self._tasks and not is_local:
            self._pass_on((topic,))

    @property
    def has_followers(self) -> bool:
        """Whether anybody here may wait for a topic of one thing (`kind:id`), such as a job's."""
        return bool(self._observers) or any(
            ":" in topic and known for topic, known in self._tickets.items()
        )

    def observe(self, observer: Callable[[str], None]) -> Callable[[], None]:
        """Call `observer` with every topic woken from now on; what is returned ends that.

        It is called in the middle of other work: it must be quick and must not raise.
        """
        self._observers.append(observer)
        return partial(self._observers.remove, observer)

    def observe_gaps(self, observer: Callable[[], None]) -> Callable[[], None]:
        """Call `observer` whenever any topic may have been woken unheard; else as `observe`."""
        self._gap_observers.append(observer)
        return partial(self._gap_observers.remove, observer)

    def ticket(self, *topics: str) -> Ticket:
        """Take one before reading the state; it notes every wake-up of the topics from now on."""
        ticket = Ticket(topics)
        if len(self._tickets) >= self._sweep_at:
            self._sweep()
        for topic in topics:
            self._tickets.setdefault(topic, WeakSet()).add(ticket)
        return ticket

    async def wait(self, ticket: Ticket, timeout: float) -> bool:
        """Return True once a topic was woken after `ticket` was taken, False at the time-out."""
        try:
            # Not `wait_for`: before Python 3.12 it loses a cancel that comes with the event.
            async with asyncio.timeout(timeout):
                await ticket.event.wait()
        except TimeoutError:
            return False
        finally:
            self._drop(ticket)
        return True

    def _sweep(self) -> None:
        """Forget topics whose tickets were given up without a wait."""
        self._tickets = {topic: known for topic, known in self._tickets.items() if known}
        self._sweep_at = max(_SWEEP, 2 * len(self._tickets))

    def _drop(self, ticket: Ticket) -> None:
        for topic in ticket.topics:
            if (known := self._tickets.get(topic)) is not None:
                known.discard(ticket)
                if not known:
                    del self._tickets[topic]

    def _wake_local(self, topic: str) -> None:
        for ticket in self._tickets.pop(topic, ()):
            ticket.event.set()
        for observer in tuple(self._observers):
            observer(topic)

    def _pass_on(self, topics: Iterable[str]) -> None:
        """Tell other processes, soon."""
        self._pending.update(topics)
        self._dirty.set()

    def _missed(self) -> None:
        """Wake everybody: what was sent in the meantime is not known."""
        for topic in tuple(self._tickets):
            for ticket in self._tickets.pop(topic, ()):
                ticket.event.set()
        for observer in tuple(self._gap_observers):
            observer()

    async def _forever(self, step: Any) -> None:
        while True:
            try:
                await step()
            except (Error, OSError) as error:
                _log.warning("wake-ups interrupted", extra={"reason": str(error)})
                self._has_started.set()
                await asyncio.sleep(_RETRY_S)

    async def _connect(self) -> AsyncConnection[Any]:
        assert self._dsn is not None
        return await AsyncConnection.connect(self._dsn, autocommit=True)

    async def _listen(self) -> None:
        async with await self._connect() as conn:
            await conn.execute(f"listen {_CHANNEL}")
            if self._has_started.is_set():
                self._missed()
            self._has_started.set()
            async for notice in conn.notifies():
                if notice.pid != getattr(self, "_sender_pid", None):
                    self._wake_local(notice.payload)

    async def _send(self) -> None:
        async with await self._connect() as conn:
            self._sender_pid = conn.info.backend_pid
            # A lost wake-up is found by polling: it need not wait for the disk.
            await conn.execute("set synchronous_commit = off")
            sent_at = 0.0
            while True:
                await self._dirty.wait()
                # The first goes at once; what comes right after it goes together.
                if (early_s := sent_at + _COALESCE_S - time.monotonic()) > 0:
                    await asyncio.sleep(early_s)
                sent_at = time.monotonic()
                self._dirty.clear()
                topics, self._pending = self._pending, set()
                await conn.execute(
                    "select pg_notify(%s, topic) from unnest(%s::text[]) as topic",
                    (_CHANNEL, sorted(topics)),
                )
