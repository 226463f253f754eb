"""Clients that listen for changes and hear none: `python -m bench.gateway.listeners`.

Reads {"port", "keys", "count"} from standard input; says how many streams are acknowledged, then
holds them until the next line.
"""

import asyncio
import json
import sys
from typing import Any

import uvloop

from bench.gateway.serving import say
from bench.gateway.stage import listening_request

_AT_ONCE = 100
_ACKNOWLEDGED = b"notifications/subscriptions/acknowledged"


class Listener(asyncio.Protocol):
    """One stream."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._seen = b""
        self.is_acknowledged: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        if not self.is_acknowledged.done():
            self._seen += data
            if _ACKNOWLEDGED in self._seen:
                self.is_acknowledged.set_result(True)
                self._seen = b""

    def connection_lost(self, _error: Exception | None) -> None:
        if not self.is_acknowledged.done():
            self.is_acknowledged.set_result(False)


async def _open(port: int, keys: list[str], count: int) -> int:
    loop, room = asyncio.get_running_loop(), asyncio.Semaphore(_AT_ONCE)

    async def one(number: int) -> bool:
        request = listening_request(port, keys[number % len(keys)])
        async with room:
            _, made = await loop.create_connection(lambda: Listener(request), "127.0.0.1", port)
            async with asyncio.timeout(60):
                return await made.is_acknowledged

    return sum(await asyncio.gather(*[one(number) for number in range(count)]))


async def run() -> None:
    """Open, say so, hold."""
    order = json.loads(sys.stdin.readline())
    say(port=order["port"], acknowledged=await _open(**order))
    over = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, over.set)
    await over.wait()


if __name__ == "__main__":
    uvloop.run(run())
