"""One piece of work at a time for each key; who asks for the same joins in and hears of it."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
Say = Callable[[str], None]


@dataclass
class _Flight(Generic[T]):
    task: "asyncio.Future[T]"
    listeners: list[Say]
    said: list[str]


class Flights(Generic[T]):
    """Work under way, by key. A caller who leaves does not end it for the others."""

    def __init__(self) -> None:
        self._under_way: dict[str, _Flight[T]] = {}

    async def join(self, key: str, make: Callable[[Say], Awaitable[T]], told: Say | None) -> T:
        """The result of the work under that key, begun by whoever asks first."""
        flight = self._under_way.get(key) or self._begin(key, make)
        if told is not None:
            flight.listeners.append(told)
            for text in flight.said[-1:]:
                told(text)
        try:
            return await asyncio.shield(flight.task)
        finally:
            if told is not None:
                flight.listeners.remove(told)

    async def close(self) -> None:
        """End what is under way."""
        tasks = [flight.task for flight in self._under_way.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, key: str, make: Callable[[Say], Awaitable[T]]) -> _Flight[T]:
        listeners: list[Say] = []
        said: list[str] = []

        def say(text: str) -> None:
            said.append(text)
            for listener in tuple(listeners):
                listener(text)

        flight = _Flight(asyncio.ensure_future(make(say)), listeners, said)
        self._under_way[key] = flight

        def done(task: "asyncio.Future[T]") -> None:
            del self._under_way[key]
            if not task.cancelled():
                task.exception()  # seen, should everybody have left

        flight.task.add_done_callback(done)
        return flight
