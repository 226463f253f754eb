"""The side of Redis in dispatch: streams, one group of consumers, the relay's key.

Every call is bounded in time and raises `BrokerError` only. Nothing here is kept for good:
a broker that was emptied is filled again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeVar
from uuid import UUID

from redis.exceptions import ResponseError

from app.kernel.redisclient import RedisClient
from app.orchestration.dispatch.inbox import Message

PARTITIONS = 4
_GROUP = "workers"
_FIELD = b"j"
_ID_BYTES = 16
_PATIENCE_S = 1.5
_BLOCK_MS = 500
# Far more than the relay has on its way; only entries that nobody reads are cut.
_LONGEST = 10_000
# The last is what a waiting reader is told when its stream goes away.
_NOT_THERE = ("NOGROUP", "no such key", "ERR no such key", "UNBLOCKED")
_Answer = TypeVar("_Answer")


class BrokerError(Exception):
    """The broker, or a part of it, did not do what it was asked."""


class Broker:
    """The streams of one database in a Redis, a cluster or a single server."""

    def __init__(self, url: str, prefix: str, *, partitions: int = PARTITIONS) -> None:
        # Whoever asks tries again, and works without the broker until then.
        self._redis = RedisClient(url, patience_s=_PATIENCE_S, retries=2, connections=1000)
        self._prefix = prefix
        self.partitions = partitions
        self._next = 0

    async def close(self) -> None:
        """Close all connections."""
        async with _bounded():
            await self._redis.close()

    def stream(self, kind: str, partition: int) -> str:
        """The name of a stream; all kinds of a partition share its slot."""
        return f"{self._prefix}:jobs:{{{partition}}}:{kind}"

    async def publish(self, batches: Mapping[str, Sequence[Sequence[UUID]]]) -> None:
        """Add one entry for each batch of jobs, by kind; spread over the partitions.

        On `BrokerError` any of them may have been added.
        """
        async with _bounded():
            pipeline = (await self._redis.connected()).pipeline(transaction=False)
            for kind, many in batches.items():
                for jobs in many:
                    self._next = (self._next + 1) % self.partitions
                    entry: Any = {_FIELD: b"".join(job.bytes for job in jobs)}
                    stream = self.stream(kind, self._next)
                    pipeline.xadd(stream, entry, maxlen=_LONGEST, approximate=True)
            await pipeline.execute()

    async def read(self, kind: str, partition: int, consumer: str, count: int) -> list[Message]:
        """Up to `count` entries not given to anybody yet; waits half a second for the first."""
        stream = self.stream(kind, partition)

        async def read() -> Any:
            redis = await self._redis.connected()
            return await redis.xreadgroup(
                _GROUP, consumer, {stream: ">"}, count=count, block=_BLOCK_MS
            )

        answer = await self._grouped(stream, read)
        return [found for _, rows in answer or () for found in _messages(partition, rows)]

    async def take_over(
        self, kind: str, partition: int, consumer: str, count: int, idle_s: float
    ) -> list[Message]:
        """Up to `count` entries that somebody was given and has not acknowledged for `idle_s`."""
        stream = self.stream(kind, partition)

        async def claim() -> Any:
            redis = await self._redis.connected()
            return await redis.xautoclaim(
                stream, _GROUP, consumer, min_idle_time=int(idle_s * 1000), count=count
            )

        answer = await self._grouped(stream, claim)
        return list(_messages(partition, answer[1]))

    async def acknowledge(self, kind: str, messages: Iterable[Message]) -> None:
        """Remove entries for good."""
        by_stream: dict[str, list[bytes]] = {}
        for message in messages:
            by_stream.setdefault(self.stream(kind, message.partition), []).append(message.entry)
        async with _bounded():
            pipeline = (await self._redis.connected()).pipeline(transaction=False)
            for stream, entries in by_stream.items():
                pipeline.xack(stream, _GROUP, *entries)
                pipeline.xdel(stream, *entries)
            await pipeline.execute()

    async def forget_consumers(self, kind: str, partition: int, idle_s: float) -> None:
        """Drop consumers that have been silent for `idle_s` and were given nothing."""
        stream = self.stream(kind, partition)

        async def forget() -> None:
            redis = await self._redis.connected()
            for one in await redis.xinfo_consumers(stream, _GROUP):
                if one["pending"] == 0 and one["idle"] > idle_s * 1000:
                    await redis.xgroup_delconsumer(stream, _GROUP, one["name"])

        await self._grouped(stream, forget)

    async def lead(self, name: str, seconds: float) -> Literal["gained", "kept", "other"]:
        """Be the relay for `seconds` more: now first, still, or not, since somebody else is.

        Two may lead for a moment, when a failover loses the key: that doubles messages.
        """
        key, ttl = f"{self._prefix}:relay", int(seconds * 1000)
        async with _bounded():
            redis = await self._redis.connected()
            if await redis.set(key, name, nx=True, px=ttl):
                return "gained"
            is_mine = await redis.get(key) == name.encode()
            return "kept" if is_mine and await redis.pexpire(key, ttl) else "other"

    async def step_down(self, name: str) -> None:
        """Let somebody else be the relay at once."""
        key = f"{self._prefix}:relay"
        async with _bounded():
            redis = await self._redis.connected()
            if await redis.get(key) == name.encode():
                await redis.delete(key)

    async def _grouped(self, stream: str, ask: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Ask; where the stream or its group is not there (yet, or any more), make it first."""
        async with _bounded():
            try:
                return await ask()
            except ResponseError as error:
                if not str(error).startswith(_NOT_THERE):
                    raise
            with _existing_is_fine():
                await (await self._redis.connected()).xgroup_create(
                    stream, _GROUP, id="0", mkstream=True
                )
            return await ask()


def _messages(partition: int, rows: Any) -> Iterator[Message]:
    for entry, fields in rows:
        raw = (fields or {}).get(_FIELD, b"")
        ids = [raw[at : at + _ID_BYTES] for at in range(0, len(raw), _ID_BYTES)]
        yield Message(partition, entry, [UUID(bytes=one) for one in ids if len(one) == _ID_BYTES])


@contextmanager
def _existing_is_fine() -> Iterator[None]:
    try:
        yield
    except ResponseError as error:
        if "BUSYGROUP" not in str(error):
            raise


class _bounded:  # noqa: N801 - reads as what it is
    """Ends in time, and with `BrokerError` only."""

    def __init__(self) -> None:
        self._limit = asyncio.timeout(_PATIENCE_S + 1)

    async def __aenter__(self) -> None:
        await self._limit.__aenter__()

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            await self._limit.__aexit__(kind, error, trace)
        except TimeoutError:
            raise BrokerError("no answer in time") from error
        # When nodes go away under it, the client also raises `AttributeError` and the like.
        if isinstance(error, Exception):
            raise BrokerError(f"{type(error).__name__}: {error}") from error
