"""Doubles of workers, for what the pool and sessions decide without a sandbox."""

import asyncio
from dataclasses import dataclass, field

from app.sandbox.links import Fate, Room


@dataclass(eq=False)
class PlayedWorker:
    """A worker that is nothing but alive or dead."""

    room: Room
    is_alive: bool = True
    kills: int = 0

    async def kill(self) -> Fate:
        self.is_alive = False
        self.kills += 1
        return Fate()


@dataclass
class PlayedPlace:
    """Makes workers; `gate` holds the making up (of `gated` alone), `fault` makes it fail."""

    image: str = "one"
    fault: Exception | None = None
    gate: asyncio.Event | None = None
    gated: Room | None = None
    made: list[PlayedWorker] = field(default_factory=list)
    making: int = 0
    most_at_once: int = 0

    async def start(self, room: Room) -> PlayedWorker:
        self.making += 1
        self.most_at_once = max(self.most_at_once, self.making)
        try:
            if self.gate is not None and self.gated in (None, room):
                await self.gate.wait()
            else:
                await asyncio.sleep(0)
            if self.fault is not None:
                raise self.fault
        finally:
            self.making -= 1
        worker = PlayedWorker(room)
        self.made.append(worker)
        return worker

    async def ask_image(self) -> str:
        return self.image

    def alive(self) -> list[PlayedWorker]:
        return [worker for worker in self.made if worker.is_alive]
