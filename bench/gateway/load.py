"""Keep-alive clients that cost the machine little, in a process of their own.

Reads one JSON object from standard input (`Order`), prints one. Each connection sends its requests
of the opening, then the same call again and again, the next when the last one was answered. CPU
time is read from /proc for the processes named in `pids`, over the measured window only.
"""

import asyncio
import json
import sys
import time
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httptools
import uvloop

_SESSION = b"mcp-session-id"
_TICKS = 100  # of a second, in which Linux counts CPU time


@dataclass(frozen=True)
class Order:
    """What to send, how often at once, for how long; times in seconds.

    `expect` must be in every answer. `headers` are for all requests; what an opening's answer
    says of its session is sent along from then on.
    """

    port: int
    body: str
    headers: dict[str, str]
    expect: str
    path: str = "/mcp"
    opening: list[str] = field(default_factory=list)
    clients: int = 1
    seconds: float = 3.0
    warm: float = 0.5
    pids: dict[str, int] = field(default_factory=dict)


def encode(order: Order, body: str, more: dict[str, str]) -> bytes:
    """A whole request."""
    data = body.encode()
    headers = {"Host": f"127.0.0.1:{order.port}", "Content-Length": str(len(data))}
    lines = "".join(
        f"{key}: {value}\r\n" for key, value in (headers | order.headers | more).items()
    )
    return f"POST {order.path} HTTP/1.1\r\n{lines}\r\n".encode() + data


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, load: "Load") -> None:
        self._load = load
        self._opening = list(load.order.opening)
        self._session: dict[str, str] = {}
        self._request = load.request
        self._is_call = False
        self._began = 0.0
        self._renew()

    def _renew(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._body: list[bytes] = []

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._turn()

    def _turn(self) -> None:
        if self._load.is_over:
            self._transport.close()
            return
        self._is_call = not self._opening
        self._began = time.perf_counter()
        if self._is_call:
            self._transport.write(self._request)
        else:
            self._transport.write(encode(self._load.order, self._opening.pop(0), self._session))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._load.faults.append(f"no HTTP: {error}")
            self._transport.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep the id of the session."""
        if name.lower() == _SESSION and not self._session:
            self._session = {"Mcp-Session-Id": value.decode()}
            self._request = encode(self._load.order, self._load.order.body, self._session)

    def on_body(self, data: bytes) -> None:
        """Keep the answer."""
        self._body.append(data)

    def on_message_complete(self) -> None:
        """Judge the answer, take the next turn."""
        if self._is_call:
            span, status = time.perf_counter() - self._began, self._parser.get_status_code()
            self._load.answered(status, b"".join(self._body), span)
        self._renew()
        self._turn()

    def connection_lost(self, _error: Exception | None) -> None:
        if not self._load.is_over:
            self._load.faults.append("connection lost")
        self._load.left.discard(self)
        if not self._load.left:
            self._load.is_left.set()


class Load:
    """What the connections share."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.request = encode(order, order.body, {})
        self._expect = order.expect.encode()
        self.is_over = False
        self.is_measured = False
        self.spans = array("d")
        self.faults: list[str] = []
        self.left: set[Connection] = set()
        self.is_left = asyncio.Event()

    def answered(self, status: int, body: bytes, span: float) -> None:
        """Note an answer."""
        if status != 200 or self._expect not in body:
            self.faults.append(f"{status} {body[:300]!r}")
        elif self.is_measured:
            self.spans.append(span)

    def connect(self) -> Connection:
        """A new connection."""
        made = Connection(self)
        self.left.add(made)
        return made


def cpu_seconds(pid: int) -> float:
    """CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def percentile_ms(spans: list[float], share: float) -> float:
    """A percentile, in ms; spans are sorted."""
    return round(1000 * spans[min(len(spans) - 1, int(share * len(spans)))], 3) if spans else 0.0


async def run(order: Order) -> dict[str, Any]:
    """Warm up, measure, stop."""
    load, loop = Load(order), asyncio.get_running_loop()
    for _ in range(order.clients):
        await loop.create_connection(load.connect, "127.0.0.1", order.port)
    await asyncio.sleep(order.warm)
    before = {name: cpu_seconds(pid) for name, pid in order.pids.items()}
    load.is_measured, began = True, time.monotonic()
    await asyncio.sleep(order.seconds)
    load.is_measured, seconds = False, time.monotonic() - began
    used = {name: cpu_seconds(pid) - before[name] for name, pid in order.pids.items()}
    load.is_over = True
    async with asyncio.timeout(30):
        await load.is_left.wait()
    spans = sorted(load.spans)
    count = max(1, len(spans))
    return {
        "calls_per_s": len(spans) / seconds,
        "p50_ms": percentile_ms(spans, 0.5),
        "p95_ms": percentile_ms(spans, 0.95),
        "p99_ms": percentile_ms(spans, 0.99),
        "cpu_us": {name: round(1e6 * value / count, 1) for name, value in used.items()},
        "calls": len(spans),
        "faults": len(load.faults),
        "fault": load.faults[0] if load.faults else None,
    }


def main() -> None:
    """Read the order, print what came of it."""
    print(json.dumps(uvloop.run(run(Order(**json.load(sys.stdin))))))


if __name__ == "__main__":
    main()
