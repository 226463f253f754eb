"""Live traces over HTTP are long connections like the others: counted, and ended with their key."""

import asyncio
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from tests.surfaces.mcp_listen.clients import until
from tests.surfaces.test_http_errors import assert_problem
from tests.surfaces.world import World, person

pytestmark = pytest.mark.anyio
WAITING = {"workflow": {"workflow": 1, "nodes": {"pause": {"wait": {"seconds": 3600}}}}}


async def followed(http: httpx2.AsyncClient) -> str:
    """The path of the trace of a run that waits."""
    run = await http.post("/v1/workflows/runs", json=WAITING)
    assert run.status_code == 201, run.text
    return f"/v1/jobs/{run.json()['job_id']}/events/stream"


async def test_a_trace_ends_with_its_key(app: FastAPI, url: str, world: World) -> None:
    carol = await person(world.services, "carol@example.org")
    async with (
        asyncio.timeout(20),
        httpx2.AsyncClient(base_url=url, headers=dict(carol.headers), timeout=60) as http,
        http.stream("GET", await followed(http)) as stream,
    ):
        lines = stream.aiter_lines()
        assert (await anext(lines)).startswith("id: 1")
        assert len(app.state.gateway.streams) == 1
        await http.delete(f"/v1/keys/{carol.principal.key_id}")
        await app.state.gateway.streams.check()
        assert [line async for line in lines][-1] == ""
    await until(lambda: len(app.state.gateway.streams) == 0)


@pytest.mark.parametrize("changes", [{"mcp_streams_per_user": 1}])
async def test_only_so_many_traces(url: str, world: World, changes: dict[str, Any]) -> None:
    async with httpx2.AsyncClient(
        base_url=url, headers=dict(world.alice.headers), timeout=60
    ) as http:
        path = await followed(http)
        async with http.stream("GET", path) as stream:
            assert stream.status_code == 200
            assert_problem(await http.get(path), 429, "rate_limited")
