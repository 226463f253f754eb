"""A load over HTTP that costs the machine little, in a process of its own; last line is JSON.

Requests are encoded once for each user, answers are parsed only as far as their length and count of
jobs. A connection sends its next request when the last one is answered; while too many jobs wait
(`ahead`, 0: any number) it pauses, so that the figure is of jobs that end, not of jobs that queue.
"""

import argparse
import asyncio
import json
import time
from array import array
from collections import deque
from pathlib import Path
from typing import Any

import uvloop

from bench.jobs.ended import Ended
from bench.jobs.spans import spread_ms

_TICK_S = 0.002
_FILL = 180


class Load:
    """What the connections share."""

    def __init__(self, args: argparse.Namespace, keys: list[str]) -> None:
        self.size: int = args.batch
        self._ahead: int = args.ahead
        self._ended = Ended(args.folder)
        self._base = self._ended.total()
        self._requests = [_encode(key, self.size, number) for number, key in enumerate(keys)]
        self._parked: deque[Connection] = deque()
        self._sent = 0
        self._done = 0
        self.is_over = False
        self.is_measured = False
        self.accepted = 0  # jobs
        self.spans = array("d")
        self.faults: list[str] = []

    def turn(self, connection: "Connection") -> None:
        """Let a connection send its next request, now or when there is room."""
        if self.is_over:
            connection.close()
        elif self._ahead and self._sent - self._done + self.size > self._ahead:
            self._parked.append(connection)
        else:
            self._sent += self.size
            connection.send(self._requests[self._sent // self.size % len(self._requests)])

    def answered(self, is_good: bool, jobs: int, span: float, text: bytes) -> None:
        """Note an answer."""
        self.accepted += jobs
        if not is_good or jobs != self.size:
            self.faults.append(text[:300].decode(errors="replace"))
        elif self.is_measured:
            self.spans.append(span)

    async def tick(self) -> None:
        """Let parked connections go on as jobs end."""
        while True:
            self._done = self.ended()
            for _ in range(len(self._parked)):
                self.turn(self._parked.popleft())
            await asyncio.sleep(_TICK_S)

    def ended(self) -> int:
        """Jobs that have ended since this load began."""
        return self._ended.total() - self._base


class Connection(asyncio.Protocol):
    """One keep-alive client."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffer = b""
        self._end = -1
        self._began = 0.0
        self._transport: Any = None
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._load.turn(self)

    def send(self, request: bytes) -> None:
        """Send one request; its answer takes the next turn."""
        self._began = time.perf_counter()
        self._transport.write(request)

    def close(self) -> None:
        """End it."""
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if self._end < 0:
            self._end = _length(self._buffer)
        if self._end < 0 or len(self._buffer) < self._end:
            return
        text, self._buffer, self._end = self._buffer, b"", -1
        span = time.perf_counter() - self._began
        is_good = text.startswith(b"HTTP/1.1 20")
        self._load.answered(is_good, text.count(b'"job_id":"'), span, text)
        self._load.turn(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._load.is_over:
            self._load.faults.append(f"connection lost: {exc}")
        if not self.closed.done():
            self.closed.set_result(None)


def _length(text: bytes) -> int:
    """The length of a whole answer, or -1 while its header is not there."""
    head = text.find(b"\r\n\r\n")
    if head < 0:
        return -1
    at = text.lower().find(b"content-length:", 0, head)
    end = text.find(b"\r\n", at)
    return head + 4 + int(text[at + 15 : end])


def _encode(key: str, size: int, number: int) -> bytes:
    def job(place: int) -> dict[str, Any]:
        payload = f"{number}.{place}".ljust(_FILL, "x")
        return {"tool": "bench.noop", "arguments": {"payload": payload}}

    is_batch = size > 1
    asked = {"jobs": [job(place) for place in range(size)]} if is_batch else job(0)
    body = json.dumps(asked, separators=(",", ":")).encode()
    path = "/v1/jobs:batch" if is_batch else "/v1/jobs"
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def run(args: argparse.Namespace) -> dict[str, Any]:
    """Warm up, measure, stop."""
    load = Load(args, json.loads(args.keys.read_text()))
    loop = asyncio.get_running_loop()
    connections = []
    for _ in range(args.clients):
        _, made = await loop.create_connection(lambda: Connection(load), "127.0.0.1", args.port)
        connections.append(made)
    ticker = asyncio.create_task(load.tick())
    await asyncio.sleep(args.warm)
    load.is_measured, accepted, ended, began = True, load.accepted, load.ended(), time.monotonic()
    used = time.process_time()
    await asyncio.sleep(args.seconds)
    load.is_measured, seconds = False, time.monotonic() - began
    accepted, ended = load.accepted - accepted, load.ended() - ended
    left, used = load.accepted - load.ended(), time.process_time() - used
    load.is_over = True
    await asyncio.wait([made.closed for made in connections], timeout=30)
    ticker.cancel()
    return {
        "accepted_per_s": accepted / seconds,
        "ended_per_s": ended / seconds,
        "backlog_end_jobs": left,
        "accepted": load.accepted,
        "cpu_us_per_job": round(1e6 * used / max(accepted, 1), 1),
        "faults": len(load.faults),
        "fault": load.faults[0] if load.faults else None,
        **spread_ms(list(load.spans)),
    }


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description="Submits over HTTP; started by bench.jobs.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True, help="where workers count")
    parser.add_argument("--keys", type=Path, required=True, help="API keys, a JSON list")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--batch", type=int, default=1, help="jobs in a request")
    parser.add_argument("--ahead", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--warm", type=float, default=2.0)
    print(json.dumps(uvloop.run(run(parser.parse_args()))))


if __name__ == "__main__":
    main()
