"""`sandbox.run_python` over MCP, through the real server and with a real client.

The floor is a call of a tool that does nothing, by the same client through the same server, right
before. Its upstream is a process of its own, as every tool server is.
"""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from bench.gateway.stage import started
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
                return await _measure(client, options, await _warmed(client))


async def _measure(client: Client, options: Options, executor: str) -> Found:
    async def empty() -> float:
        # Meanwhile the server makes a worker anew; that is not what is measured.
        await asyncio.sleep(options.pause)
        began = time.perf_counter()
        await client.call_tool("echo.echo", {"text": "hi"})
        return time.perf_counter() - began

    async def run() -> float:
        began = time.perf_counter()
        answer = await client.call_tool("sandbox.run_python", {"code": PANDAS})
        span = time.perf_counter() - began
        if not _check(answer)["is_warm"]:
            cold.append(span)
        return span

    cold: list[float] = []
    spans = await in_turn({"floor": empty, "run": run}, options.runs)
    over = [ran - floor for ran, floor in zip(spans["run"], spans["floor"], strict=True)]
    return {
        **both("mcp_floor", spans["floor"]),
        **both("mcp_roundtrip", spans["run"]),
        "mcp_roundtrip_over_floor_ms": median_ms(over),
        "mcp_roundtrip_over_floor_p95_ms": p95_ms(over),
        "mcp_roundtrip_cold": len(cold),
        "mcp_executor": executor,
    }


async def _warmed(client: Client) -> str:
    """Call until a waiting worker answers; what it runs on."""
    deadline = time.monotonic() + _READY_S
    while True:
        found = _check(await client.call_tool("sandbox.run_python", {"code": PANDAS}))
        if found["is_warm"]:
            return str(found["executor"])
        if time.monotonic() > deadline:
            raise BenchError("no worker waits at the server")
        await asyncio.sleep(0.5)


def _check(answer: Any) -> Mapping[str, Any]:
    found: Mapping[str, Any] = answer.structured_content or {}
    if answer.is_error or found.get("stdout") != ANSWERS[PANDAS]:
        raise BenchError(f"the tool failed: {str(answer)[:500]}")
    return found
