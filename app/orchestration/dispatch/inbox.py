"""What one worker has been told of one kind and has not yet claimed. In memory, no waiting."""

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID


@dataclass(slots=True)
class Message:
    """A stream's entry: some jobs, and those of them that are not yet done with."""

    partition: int
    entry: bytes
    jobs: Sequence[UUID]
    left: int = field(init=False)

    def __post_init__(self) -> None:
        self.left = len(self.jobs)


class Inbox:
    """Jobs of one kind on their way from the streams to a lane.

    It asks for no more than the lane last had room for, so that no worker hoards what another
    could run.
    """

    def __init__(self) -> None:
        self._buffer: deque[UUID] = deque()
        # Of a job told twice, both messages are done with at once.
        self._origins: dict[UUID, list[Message]] = {}
        self._taken: set[UUID] = set()
        self._wanted = 0
        self._has_room = asyncio.Event()

    @property
    def wanted(self) -> int:
        """How many more jobs the lane had room for when it last asked."""
        return self._wanted

    async def room(self) -> int:
        """Wait until the lane wants jobs; how many."""
        await self._has_room.wait()
        return self._wanted

    def add(self, messages: Iterable[Message]) -> None:
        """Keep what was read."""
        for message in messages:
            for job_id in message.jobs:
                self._origins.setdefault(job_id, []).append(message)
                if len(self._origins[job_id]) == 1:
                    self._buffer.append(job_id)
                    self._want(self._wanted - 1)

    def take(self, limit: int) -> list[UUID]:
        """Up to `limit` jobs; first those of a claim that came to nothing."""
        ids = list(self._taken)[:limit]
        while self._buffer and len(ids) < limit:
            ids.append(self._buffer.popleft())
        self._taken.update(ids)
        self._want(limit - len(ids))
        return ids

    def done(self, ids: Iterable[UUID]) -> list[Message]:
        """Forget jobs; the messages that nothing is left of."""
        over = []
        for job_id in ids:
            self._taken.discard(job_id)
            for message in self._origins.pop(job_id, ()):
                message.left -= 1
                if message.left == 0:
                    over.append(message)
        return over

    def drop(self, limit: int) -> list[Message]:
        """Forget everything, and want `limit` more; the messages that nothing is left of."""
        self._buffer.clear()
        over = self.done(list(self._origins))
        self._taken.clear()
        self._want(limit)
        return over

    def _want(self, count: int) -> None:
        self._wanted = max(count, 0)
        if self._wanted:
            self._has_room.set()
        else:
            self._has_room.clear()
