"""The connections of one process to remote servers: kept while idle, bounded in number."""

import asyncio
import time
from collections import deque

from yarl import URL

from app.kernel.egress import Resolve
from app.proxy.wire.connection import Connection
from app.proxy.wire.guard import IDLE_S, connect

_ALL = 2000
_PER_SERVER = 256
_STREAMS_PER_SERVER = 1000

Place = tuple[str, str, int, bool, bool]
"""Scheme, host, port, whether private addresses are open, and whether for streams that stay.

Those have a room of their own: they must leave calls enough, however many clients listen.
"""


class NoRoomError(OSError):
    """As many streams are open as may be; none of them may end soon."""


class _Server:
    """What is kept of one place."""

    def __init__(self, most: int) -> None:
        self.idle: deque[Connection] = deque()
        self.room = asyncio.Semaphore(most)
        self.users = 0


class Connections:
    """Gives a connection to one request at a time, and takes it back."""

    def __init__(self, look_up: Resolve) -> None:
        self._look_up = look_up
        self._servers: dict[Place, _Server] = {}
        self._rooms = asyncio.Semaphore(_ALL), asyncio.Semaphore(_ALL)
        self.open: set[Connection] = set()
        self._sweep: asyncio.TimerHandle | None = None

    async def take(self, place: Place, url: URL, *, is_new: bool = False) -> Connection:
        """A connection to that place; a call waits while all allowed ones are in use.

        `is_new` never gives one that was used before. Raises OSError if none can be made.
        """
        is_stream, server = place[4], self._servers.get(place)
        if server is None:
            server = self._servers[place] = _Server(
                _STREAMS_PER_SERVER if is_stream else _PER_SERVER
            )
        all_room = self._rooms[is_stream]
        server.users += 1
        try:
            if is_stream and (server.room.locked() or all_room.locked()):
                raise NoRoomError("too many streams are open already")
            await server.room.acquire()
            try:
                await all_room.acquire()
            except BaseException:
                server.room.release()
                raise
        except BaseException:
            self._leave(place, server)
            raise
        try:
            while server.idle and not is_new:
                # The newest first: the others may then be idle for long enough to be closed.
                connection = server.idle.pop()
                if connection.is_reusable:
                    return connection
                self.open.discard(connection)
            connection = Connection()
            await connect(lambda: connection, url, self._look_up, allow_private=place[3])
        except BaseException:
            self._release(place, server)
            raise
        self.open.add(connection)
        return connection

    def give(self, place: Place, connection: Connection) -> None:
        """Take a connection back; one whose response was not read to its end is closed."""
        server = self._servers[place]
        if connection.is_reusable:
            connection.idle_since = time.monotonic()
            server.idle.append(connection)
            if self._sweep is None:
                self._later()
        else:
            connection.close()
            self.open.discard(connection)
        self._release(place, server)

    def close(self) -> None:
        """Close every connection."""
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for connection in self.open:
            connection.close()
        self.open.clear()

    def _release(self, place: Place, server: _Server) -> None:
        self._rooms[place[4]].release()
        server.room.release()
        self._leave(place, server)

    def _leave(self, place: Place, server: _Server) -> None:
        server.users -= 1
        if not server.users and not server.idle:
            self._servers.pop(place, None)

    def _later(self) -> None:
        self._sweep = asyncio.get_running_loop().call_later(IDLE_S / 4, self._close_idle)

    def _close_idle(self) -> None:
        """Close what has been idle for as long as servers commonly bear it."""
        self._sweep = None
        oldest = time.monotonic() - IDLE_S
        for place, server in list(self._servers.items()):
            while server.idle and (
                server.idle[0].idle_since < oldest or not server.idle[0].is_open
            ):
                connection = server.idle.popleft()
                connection.close()
                self.open.discard(connection)
            if not server.users and not server.idle:
                del self._servers[place]
        if any(server.idle for server in self._servers.values()):
            self._later()
