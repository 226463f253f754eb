"""Wake-ups between processes over Redis, which takes them off the database.

Any node of a cluster passes what is published on to all others; a single server has none. What
cannot be published goes over NOTIFY, and everybody listens there too: while Redis is away, wake-ups
are as without it. A connection that was lost and is back may have missed some, so everybody is told
to look again.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from itertools import islice
from typing import Any

import orjson
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from app.kernel.ids import new_id
from app.kernel.metrics import Metrics
from app.kernel.redisclient import RedisAwayError, addresses, is_cluster
from app.kernel.wakeups import Wakeups

_COALESCE_S = 0.002
_RETRY_S = 0.5
_PATIENCE_S = 2.0
# A listener that hears nothing for so long asks whether it still would.
_QUIET_S = 5.0
_TOPICS = 1000
_log = logging.getLogger(__name__)


class RedisWakeups(Wakeups):
    """As `Wakeups`; `url` as in `app.kernel.redisclient.addresses`."""

    def __init__(self, dsn: str | None, url: str, *, prefix: str, metrics: Metrics) -> None:
        """Raises `invalid_input` for a `url` that names no address."""
        super().__init__(dsn)
        self._hosts, self._login = addresses(url)
        self._channel = f"{prefix}:wake"
        self._metrics = metrics
        self._name = str(new_id())
        self._outgoing: set[str] = set()
        self._is_due = asyncio.Event()
        self._faults: dict[str, str] = {}
        self._has_subscribed = False
        self._turn = 0

    async def start(self) -> None:
        """Begin to listen and to send, over Redis and over PostgreSQL."""
        if self._tasks:
            return
        await super().start()
        for part, step in (("listen", self._hear), ("send", self._tell)):
            name = f"wakeups-redis-{part}"
            self._tasks.append(asyncio.create_task(self._keep_on(part, step), name=name))

    @property
    def reason(self) -> str | None:
        """Why Redis is not used now; None while it is."""
        return next((f"{part}: {why}" for part, why in self._faults.items()), None)

    def _pass_on(self, topics: Iterable[str]) -> None:
        if "send" not in self._faults:
            self._outgoing.update(topics)
            self._is_due.set()
        elif self._dsn is not None:
            super()._pass_on(topics)

    async def _keep_on(self, part: str, step: Callable[[Redis], Awaitable[None]]) -> None:
        while True:
            client = self._client()
            try:
                if len(self._hosts) > 1:
                    # Servers that do not know each other would pass nothing on.
                    await is_cluster(client, len(self._hosts))
                await step(client)
            except Exception as error:  # noqa: BLE001 - nobody watches this task, it must not end
                self._note(part, f"{type(error).__name__}: {error}")
            finally:
                await _close(client)
            await asyncio.sleep(_RETRY_S)

    def _client(self) -> "Redis":
        """A connection to the next node."""
        host, port = self._hosts[self._turn % len(self._hosts)]
        self._turn += 1
        return Redis(
            host=host,
            port=port,
            socket_timeout=_PATIENCE_S,
            socket_connect_timeout=_PATIENCE_S,
            # A connection made again without a word would hide what it has missed.
            retry=Retry(NoBackoff(), 0),
            protocol=2,
            **self._login,
        )

    async def _hear(self, client: Redis) -> None:
        async with client.pubsub() as pubsub:
            await pubsub.subscribe(self._channel)
            is_quiet = False
            while True:
                message = await pubsub.get_message(timeout=_QUIET_S)
                if message is not None:
                    is_quiet = False
                    self._read(message)
                elif is_quiet:
                    raise RedisAwayError("no answer in time")
                else:
                    is_quiet = True
                    await pubsub.ping()

    def _read(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribe":
            if self._has_subscribed or "listen" in self._faults:
                self._missed()
            self._has_subscribed = True
            self._note("listen", None)
        elif message["type"] == "message":
            sender, *topics = orjson.loads(message["data"])
            if sender != self._name:
                for topic in topics:
                    self._wake_local(topic)

    async def _tell(self, client: Redis) -> None:
        await client.ping()
        self._note("send", None)
        sent_at = 0.0
        while True:
            await self._is_due.wait()
            # The first goes at once; what comes right after it goes together.
            if (early_s := sent_at + _COALESCE_S - time.monotonic()) > 0:
                await asyncio.sleep(early_s)
            sent_at = time.monotonic()
            self._is_due.clear()
            while topics := list(islice(self._outgoing, _TOPICS)):
                # Before: what is woken while this is sent has to be sent again.
                self._outgoing.difference_update(topics)
                try:
                    await client.publish(self._channel, orjson.dumps([self._name, *topics]))
                except BaseException:
                    self._outgoing.update(topics)
                    raise

    def _note(self, part: str, reason: str | None) -> None:
        """A part failed for a reason, or works (None)."""
        was_up = not self._faults
        if reason is None:
            self._faults.pop(part, None)
        else:
            self._faults[part] = reason
        if "send" in self._faults:
            # Nothing waits for Redis to come back.
            unsent, self._outgoing = self._outgoing, set()
            self._pass_on(unsent)
        if was_up == (not self._faults):
            return
        self._metrics.observe_bus(is_up=not self._faults)
        if self._faults:
            _log.warning("wake-ups: Redis is away (%s); they go over PostgreSQL", self.reason)
        else:
            _log.warning("wake-ups go over Redis again")


async def _close(client: Redis) -> None:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            await client.aclose()
    except Exception as error:  # noqa: BLE001 - it is gone either way
        _log.debug("a connection to Redis broke at its end", extra={"reason": str(error)})
