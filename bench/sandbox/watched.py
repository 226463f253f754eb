"""A backend that knows when all of its sandboxes that were ended are gone, too.

An executor answers its caller and clears away behind; a cold run is only over after that.
"""

import asyncio
from typing import Any

from app.sandbox.links import Backend, Fate, Link, Room
from app.sandbox.types import Capabilities


class WatchedLink:
    """See `Link`."""

    def __init__(self, link: Link, watched: "Watched") -> None:
        self._link, self._watched = link, watched
        self.reader = link.reader

    async def send(self, data: bytes) -> None:
        """See Link.send."""
        await self._link.send(data)

    async def kill(self) -> Fate:
        """See Link.kill."""
        try:
            return await self._link.kill()
        finally:
            self._watched.gone(self)


class Watched:
    """See `Backend`."""

    def __init__(self, backend: Backend) -> None:
        self.name = backend.name
        self._backend = backend
        self._alive: set[WatchedLink] = set()
        self._changed = asyncio.Event()

    async def capabilities(self) -> Capabilities:
        """See Backend.capabilities."""
        return await self._backend.capabilities()

    async def head(self) -> dict[str, object]:
        """See Backend.head."""
        return await self._backend.head()

    async def launch(self, room: Room) -> Any:
        """See Backend.launch."""
        link = WatchedLink(await self._backend.launch(room), self)
        self._alive.add(link)
        return link

    async def close(self) -> None:
        """See Backend.close."""
        await self._backend.close()

    def gone(self, link: WatchedLink) -> None:
        """One has ended."""
        self._alive.discard(link)
        self._changed.set()

    async def cleared(self) -> None:
        """Wait until none is left."""
        while self._alive:
            self._changed.clear()
            await self._changed.wait()
