"""What the pool keeps, and how much of it."""

from dataclasses import dataclass
from typing import Protocol

from app.sandbox.links import Fate, Room


class Worker(Protocol):
    """A started sandbox whose runner waits."""

    @property
    def is_alive(self) -> bool:
        """Whether it can still be given a task, as far as is known without asking it."""
        ...

    async def kill(self) -> Fate:
        """End it; may be called twice."""
        ...


@dataclass(frozen=True)
class PoolPlan:
    """How many waiting workers there may be.

    `least` are kept of each standing kind of room, at most `most` of any; all together are taken
    to use no more than `memory_bytes`. One that waited for `idle_s` is replaced by a fresh one.
    `refills` with imports are made at once, and as many without, so that tasks that run have the
    rest of the machine.
    `least` and `most` of 0 are no pool: every task starts its own sandbox.
    """

    least: int = 1
    most: int = 8
    memory_bytes: int = 512 * 2**20
    idle_s: float = 600.0
    refills: int = 1


@dataclass(frozen=True)
class Kind:
    """A kind of room by what its runner imports beforehand; `idle_bytes` is a waiting worker's
    memory, measured, with pages shared between workers counted once each.
    """

    name: str
    imports: tuple[str, ...] = ()
    idle_bytes: int = 12 * 2**20


@dataclass(frozen=True)
class Wanted:
    """A room that a task could run in if one waits. `name` is its kind's, for the metrics."""

    name: str
    room: Room
    idle_bytes: int
