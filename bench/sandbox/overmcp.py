"""`sandbox.run_python` over MCP, through the real server and with a real client.

The floor is a call of a tool that does nothing, by the same client through the same server, right
before. Its upstream is a process of its own, as every tool server is.
"""

import asyncio
import re
import time
from collections.abc import Mapping
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from bench.gateway.stage import Running, started
from bench.sandbox.stage import (
    ANSWERS,
    PANDAS,
    BenchError,
    Options,
    both,
    in_turn,
    median_ms,
    p95_ms,
)

Found = dict[str, Any]
_READY_S = 60.0
_POLL_S = 0.02
_WAITING = re.compile(r"^sandbox_waiting\{.*\} ([0-9.]+)$", re.MULTILINE)


async def over_mcp(options: Options, _before: Mapping[str, Any]) -> Found:
    """Round trips of a warm run, and of an empty tool."""
    with (
        started("bench.gateway.upstreams", "null") as upstream,
        started("bench.gateway.product", upstream.url) as server,
    ):
        headers = {"Authorization": f"Bearer {server.facts['key']}"}
        async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
            transport = streamable_http_client(server.url, http_client=http)
            async with Client(transport) as client:
                return await _measure(client, http, server, options)


async def _measure(
    client: Client, http: httpx2.AsyncClient, server: Running, options: Options
) -> Found:
    async def refilled() -> None:
        """Let the server make its workers anew; that is not what is measured."""
        deadline = time.monotonic() + _READY_S
        while not _waiting((await http.get(f"http://127.0.0.1:{server.port}/metrics")).text):
            if time.monotonic() > deadline:
                raise BenchError("no worker waits at the server")
            await asyncio.sleep(_POLL_S)
        await asyncio.sleep(options.pause)

    async def empty() -> float:
        began = time.perf_counter()
        await client.call_tool("echo.echo", {"text": "hi"})
        return time.perf_counter() - began

    async def run() -> float:
        began = time.perf_counter()
        answer = await client.call_tool("sandbox.run_python", {"code": PANDAS})
        span = time.perf_counter() - began
        told.append(_check(answer))
        return span

    told: list[Mapping[str, Any]] = []
    spans = await in_turn({"floor": empty, "run": run}, options.runs, refilled)
    over = [ran - floor for ran, floor in zip(spans["run"], spans["floor"], strict=True)]
    return {
        **both("mcp_floor", spans["floor"]),
        **both("mcp_roundtrip", spans["run"]),
        "mcp_roundtrip_over_floor_ms": median_ms(over),
        "mcp_roundtrip_over_floor_p95_ms": p95_ms(over),
        "mcp_roundtrip_cold": sum(not each["is_warm"] for each in told),
        "mcp_executor": told[0]["executor"],
    }


def _waiting(metrics: str) -> bool:
    """Whether every kind of room has a worker that waits; a server without a pool has none."""
    counts = [float(count) for count in _WAITING.findall(metrics)]
    return min(counts, default=1) >= 1


def _check(answer: Any) -> Mapping[str, Any]:
    found: Mapping[str, Any] = answer.structured_content or {}
    if answer.is_error or found.get("stdout") != ANSWERS[PANDAS]:
        raise BenchError(f"the tool failed: {str(answer)[:500]}")
    return found
