"""The dispatcher over Redis Streams: a worker is told its jobs by id.

One reader per partition and kind fills an inbox; the lane takes from it without waiting.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from typing import Any
from uuid import UUID

from app.kernel.metrics import Metrics
from app.kernel.uow import Transactions
from app.kernel.wakeups import Wakeups
from app.orchestration.dispatch.broker import Broker, BrokerError
from app.orchestration.dispatch.faults import Faults
from app.orchestration.dispatch.inbox import Inbox, Message
from app.orchestration.dispatch.port import DispatchState
from app.orchestration.dispatch.relay import BULK, Relay
from app.orchestration.lifecycle import JOBS_TOPIC

KINDS = ("tool", "workflow", "task")
BULK_KINDS = ("tool",)
AGAIN_S = 5.0
_FORGET_S = 3600.0
_UNACKNOWLEDGED = 100_000


class RedisDispatcher:
    """Reads job ids from the streams of a `Broker`, and takes its turn as the relay."""

    def __init__(
        self,
        broker: Broker,
        transactions: Transactions,
        wakeups: Wakeups,
        metrics: Metrics,
        *,
        name: str,
        kinds: Sequence[str] = KINDS,
        bulk_kinds: Sequence[str] = BULK_KINDS,
        again_s: float = AGAIN_S,
        poll_s: float = 1.0,
    ) -> None:
        """`name` is this worker's, unlike any other's.

        Jobs that stay ready are published again after `again_s`, and entries of silent consumers
        taken over. An idle worker looks into PostgreSQL itself every `poll_s`.
        """
        self._broker = broker
        self._wakeups = wakeups
        self._name = name
        self._again_s = again_s
        self._poll_s = poll_s
        self._faults = Faults(metrics, self._wake)
        self._relay = Relay(
            broker,
            transactions,
            wakeups,
            kinds=kinds,
            bulk_kinds=bulk_kinds,
            name=name,
            again_s=again_s,
            poll_s=poll_s,
        )
        self._bulk_kinds = frozenset(bulk_kinds)
        self._inboxes: dict[str, Inbox] = {}
        self._heard_at: dict[str, float] = {}
        self._look: set[str] = set()
        # One that falls out is taken over later, claimed in vain and acknowledged then.
        self._over: deque[tuple[str, Message]] = deque(maxlen=_UNACKNOWLEDGED)
        self._has_over = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None

    def state(self) -> DispatchState:
        """Whether all parts of the broker answer."""
        return DispatchState("redis", self._faults.is_up, self._faults.reason)

    def take(self, kind: str, limit: int) -> Sequence[UUID] | None:
        """Jobs that came through the streams; None while the broker fails, or when in doubt."""
        if self._group is None:
            return None
        inbox = self._inbox(kind)
        if not self._faults.is_up:
            self._end(kind, inbox.drop(limit))
            return None
        ids = inbox.take(limit)
        if not ids and kind in self._look:
            self._look.discard(kind)
            return None
        return ids

    def done(self, ids: Sequence[UUID]) -> None:
        """Acknowledge, soon."""
        for kind, inbox in self._inboxes.items():
            self._end(kind, inbox.done(ids))

    async def run(self) -> None:
        """Read, publish, acknowledge and tend until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                for kind in self._inboxes:
                    self._read_all(kind)
                self._spawn("relay", self._relay.step)
                self._spawn("acknowledge", self._acknowledge)
                self._spawn("take over", self._take_over)
                group.create_task(self._look_around())
        finally:
            self._group = None
            with suppress(BrokerError):
                await self._relay.stop()
            with suppress(BrokerError):
                await self._broker.close()

    def _spawn(self, part: str, step: Any) -> None:
        assert self._group is not None
        self._group.create_task(self._faults.forever(part, step), name=f"dispatch-{part}")

    def _wake(self) -> None:
        self._wakeups.wake(JOBS_TOPIC, is_local=True)

    def _inbox(self, kind: str) -> Inbox:
        if (inbox := self._inboxes.get(kind)) is None:
            inbox = self._inboxes[kind] = Inbox()
            self._read_all(kind)
        return inbox

    def _read_all(self, kind: str) -> None:
        for partition in range(self._broker.partitions):
            self._spawn(f"read {kind} {partition}", self._reader(kind, partition))

    def _reader(self, kind: str, partition: int) -> Any:
        async def read() -> None:
            share = self._share(kind, await self._inboxes[kind].room())
            self._keep(kind, await self._broker.read(kind, partition, self._name, share))

        return read

    def _share(self, kind: str, wanted: int) -> int:
        """How many entries of one partition may be asked for."""
        size = BULK if kind in self._bulk_kinds else 1
        return max(wanted // (size * self._broker.partitions), 1)

    def _keep(self, kind: str, messages: Sequence[Message]) -> None:
        if messages:
            self._heard_at[kind] = time.monotonic()
            self._inboxes[kind].add(messages)
            self._wake()

    def _end(self, kind: str, messages: Sequence[Message]) -> None:
        if messages:
            self._over.extend((kind, message) for message in messages)
            self._has_over.set()

    async def _acknowledge(self) -> None:
        await self._has_over.wait()
        count = len(self._over)
        over: dict[str, list[Message]] = {}
        for kind, message in islice(self._over, count):
            over.setdefault(kind, []).append(message)
        for kind, messages in over.items():
            await self._broker.acknowledge(kind, messages)
        for _ in range(min(count, len(self._over))):
            self._over.popleft()
        if not self._over:
            self._has_over.clear()

    async def _take_over(self) -> None:
        """The heartbeat: entries of dead consumers come here, as far as there is room."""
        for kind, inbox in list(self._inboxes.items()):
            for partition in range(self._broker.partitions):
                if inbox.wanted > 0:
                    found = await self._broker.take_over(
                        kind, partition, self._name, self._share(kind, inbox.wanted), self._again_s
                    )
                    self._keep(kind, found)
                await self._broker.forget_consumers(kind, partition, _FORGET_S)
        await asyncio.sleep(self._again_s / 2)

    async def _look_around(self) -> None:
        """An idle worker trusts no silence: it looks by itself as often as without a broker."""
        while True:
            await asyncio.sleep(self._poll_s)
            now = time.monotonic()
            for kind in self._inboxes:
                if now - self._heard_at.get(kind, float("-inf")) >= self._poll_s:
                    self._look.add(kind)
            if self._look:
                self._wake()
