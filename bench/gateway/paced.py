"""Clients that call once a second each, whatever the answers take: reads an order, prints times.

Half of them call a tool, half ask for their wallet over HTTP. A call that is late because the one
before was slow counts from when it was due.
"""

import asyncio
import json
import sys
import time

import httptools
import uvloop

from bench.gateway.load import percentile_ms

_EVERY_S = 1.0


class _Answer:
    """One response as it comes."""

    def __init__(self) -> None:
        self.is_whole = False

    def on_message_complete(self) -> None:
        """It is whole."""
        self.is_whole = True


async def _call(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, text: bytes) -> int:
    writer.write(text)
    answer = _Answer()
    parser = httptools.HttpResponseParser(answer)
    while not answer.is_whole:
        data = await reader.read(65536)
        if not data:
            raise ConnectionError("the server closed the connection")
        parser.feed_data(data)
    return int(parser.get_status_code())


async def _client(
    port: int, text: bytes, begin: float, calls: int, spans: list[float], faults: list[str]
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in range(calls):
        due = begin + number * _EVERY_S
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        status = await _call(reader, writer, text)
        spans.append(time.monotonic() - due)
        if status != 200:
            faults.append(str(status))
    writer.close()


async def run() -> None:
    """Call for as long as asked, print percentiles."""
    order = json.load(sys.stdin)
    texts, count, calls = order["texts"], order["count"], order["calls"]
    spans: list[float] = []
    faults: list[str] = []
    begin = time.monotonic() + 1.0
    async with asyncio.TaskGroup() as group:
        for number in range(count):
            text = texts[number % len(texts)].encode()
            first = begin + _EVERY_S * number / count
            group.create_task(_client(order["port"], text, first, calls, spans, faults))
    spans.sort()
    print(
        json.dumps(
            {
                "calls": len(spans),
                "faults": len(faults),
                "p50_ms": percentile_ms(spans, 0.5),
                "p95_ms": percentile_ms(spans, 0.95),
                "p99_ms": percentile_ms(spans, 0.99),
            }
        )
    )


if __name__ == "__main__":
    uvloop.run(run())
