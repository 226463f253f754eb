"""Connections to the outside: a name is resolved once, and only what was checked is dialled.

A second answer of the name server can change nothing, since nobody asks it a second time.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from app.kernel.egress import Resolve
from app.sandbox.egress.answers import RefusedError
from app.sandbox.egress.request import MAX_HEAD

CONNECT_S = 10.0
_MAX_ADDRESSES = 8


@dataclass(frozen=True, slots=True)
class Ends:
    """Both directions of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> bool:
        """Write it and wait while the other side is slow; False if it takes no more."""
        try:
            self.writer.write(data)
            await self.writer.drain()
        except (OSError, RuntimeError):  # uvloop's, of a transport that is closed
            return False
        return True

    async def close(self, within_s: float) -> None:
        """Close it once what is written has been taken, or after `within_s` in any case."""
        self.writer.close()
        try:
            async with asyncio.timeout(within_s):
                await self.writer.wait_closed()
        except OSError:  # also of the time-out
            pass
        finally:
            self.abort()

    def abort(self) -> None:
        """Close it at once."""
        self.writer.transport.abort()


class Dialler:
    """Connects to hosts by the addresses that `resolve` gives and `is_open` lets through."""

    def __init__(self, resolve: Resolve, is_open: Callable[[str], bool]) -> None:
        self._resolve = resolve
        self._is_open = is_open

    async def dial(self, host: str, port: int) -> Ends:
        """A connection to the first address that answers in time.

        Raises RefusedError: no_address, address_not_public, unreachable, upstream_timeout.
        """
        try:
            async with asyncio.timeout(CONNECT_S):
                return await self._first(await self._checked(host, port), host, port)
        except TimeoutError:
            raise RefusedError("upstream_timeout", f"{host} does not answer in time") from None

    async def _checked(self, host: str, port: int) -> Sequence[str]:
        try:
            found = await self._resolve(host, port)
        except OSError:
            found = []
        if not found:
            raise RefusedError("no_address", f"{host} has no address")
        if not all(self._is_open(address) for address in found):
            raise RefusedError("address_not_public", f"{host} has an address that is not public")
        return found[:_MAX_ADDRESSES]

    async def _first(self, addresses: Sequence[str], host: str, port: int) -> Ends:
        until = asyncio.get_running_loop().time() + CONNECT_S
        for place, address in enumerate(addresses):
            left = until - asyncio.get_running_loop().time()
            try:
                async with asyncio.timeout(left / (len(addresses) - place)):
                    return Ends(*await asyncio.open_connection(address, port, limit=MAX_HEAD))
            except OSError:  # also of the time-out
                continue
        raise RefusedError("unreachable", f"{host} cannot be reached")
