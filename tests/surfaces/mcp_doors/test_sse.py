"""HTTP with SSE of 2024-11-05: the SDK's own client, and streams that are others'."""

import asyncio
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from tests.auth.issuer import Issuer
from tests.books import assert_balanced
from tests.surfaces.mcp_doors.clients import bearer, by_sse, initialize, request
from tests.surfaces.mcp_listen.clients import until
from tests.surfaces.test_http_errors import assert_problem
from tests.surfaces.world import World, person

pytestmark = pytest.mark.anyio


async def lines(stream: httpx2.Response) -> Any:
    async for line in stream.aiter_lines():
        yield line


async def address(found: Any) -> str:
    """Where the stream says its messages are to be posted."""
    async for line in found:
        if line.startswith("data:"):
            return str(line.removeprefix("data:").strip())
    raise AssertionError("the stream ended")


async def test_an_old_client(url: str, world: World, issuer: Issuer) -> None:
    told: list[str] = []

    async def progress(_done: float, _total: float | None, message: str | None) -> None:
        told.append(message or "")

    mine = str(world.alice.user_id)
    for headers in (world.alice.headers, bearer(issuer.token(sub=mine, scope="jobs tools files"))):
        async with by_sse(url, headers) as client:
            names = [tool.name for tool in (await client.list_tools()).tools]
            assert "words.say" in names
            said = await client.call_tool("words.say", {"word": "hi"})
            assert said.structured_content == {"said": "hi"}
            arguments = {"template": "echo", "input": {"text": "a"}, "wait": True}
            job = await client.call_tool(
                "bio_agent.run_task", arguments, progress_callback=progress
            )
            assert job.structured_content["status"] == "Success"
    assert "half (1/2)" in told
    await assert_balanced(world.database)


async def test_a_stream_is_its_openers(url: str, world: World, issuer: Issuer) -> None:
    mine = {"sub": str(world.alice.user_id), "scope": "jobs tools"}
    own = bearer(issuer.token(**mine, client_id="desktop"))
    async with (
        asyncio.timeout(20),
        httpx2.AsyncClient(base_url=url, timeout=60) as http,
        http.stream("GET", "/sse", headers=own) as stream,
    ):
        assert stream.headers["content-type"].startswith("text/event-stream")
        found = lines(stream)
        path = await address(found)
        for headers in (
            dict(world.bob.headers),
            dict(world.alice.headers),
            bearer(issuer.token(**mine, client_id="other")),
        ):
            stolen = await http.post(path, json=initialize(), headers=headers)
            assert_problem(stolen, 404, "not_found")
        nobody = await http.post(path, json=initialize())
        assert_problem(nobody, 401, "unauthenticated")
        # A token that was renewed is still the same client's.
        renewed = bearer(issuer.token(**mine, client_id="desktop", jti="2"))
        assert (await http.post(path, json=initialize(), headers=renewed)).status_code == 202
        assert "2025-06-18" in await address(found)


async def test_what_is_refused(url: str, world: World) -> None:
    known = dict(world.alice.headers)
    async with httpx2.AsyncClient(base_url=url, timeout=60) as http:
        nobody = await http.get("/sse")
        assert_problem(nobody, 401, "unauthenticated")
        said = nobody.headers["www-authenticate"]
        assert f'resource_metadata="{url}/.well-known/oauth-protected-resource/sse"' in said
        for headers, status in (
            ({"origin": "https://evil.example"}, 403),
            ({"host": "evil.example"}, 421),
        ):
            assert_problem(await http.get("/sse", headers=known | headers), status, "forbidden")
            assert_problem(await http.get("/sse", headers=headers), status, "forbidden")
            posted = await http.post(
                "/messages/?session_id=" + "0" * 32, json={}, headers=known | headers
            )
            assert_problem(posted, status, "forbidden")
        posted = await http.post("/sse", json=initialize(), headers=known)
        assert_problem(posted, 405, "method_not_allowed")
        for query, status, code in (
            ("", 400, "invalid_input"),
            ("?session_id=x", 400, "invalid_input"),
            ("?session_id=" + "0" * 32, 404, "not_found"),
        ):
            posted = await http.post(f"/messages/{query}", json=initialize(), headers=known)
            assert (posted.status_code, posted.json()["code"]) == (status, code)


async def test_bad_messages_leave_the_stream_alone(url: str, world: World) -> None:
    known = dict(world.alice.headers)
    async with (
        asyncio.timeout(20),
        httpx2.AsyncClient(base_url=url, headers=known, timeout=60) as http,
        http.stream("GET", "/sse") as stream,
    ):
        found = lines(stream)
        path = await address(found)
        json_type = {"content-type": "application/json"}
        for body, status in ((b"{", 400), (b"[" * 60_000, 400), (b"x" * 70_000, 413)):
            answer = await http.post(path, content=body, headers=json_type)
            assert answer.status_code == status
            assert answer.headers["content-type"] == "application/problem+json"
        assert (await http.post(path, json=initialize())).status_code == 202
        assert "2025-06-18" in await address(found)
        assert (await http.post(path, json=request(1, "ping"))).status_code == 202
        assert '"result":{}' in await address(found)


@pytest.mark.parametrize("check_s", [3600.0, 0.01])
async def test_a_stream_ends_with_its_key(
    app: FastAPI, url: str, world: World, check_s: float
) -> None:
    carol = await person(world.services, "carol@example.org")
    async with (
        asyncio.timeout(60),
        httpx2.AsyncClient(base_url=url, headers=dict(carol.headers), timeout=60) as http,
        http.stream("GET", "/sse") as stream,
    ):
        found = lines(stream)
        await address(found)
        await http.delete(f"/v1/keys/{carol.principal.key_id}")
        if check_s > 1:
            # nobody else looks at them
            assert len(app.state.gateway.streams) == 1
            await app.state.gateway.streams.check()
        assert [line async for line in found if line.startswith("data:")] == []
    await until(lambda: len(app.state.gateway.streams) == 0)


@pytest.mark.parametrize("changes", [{"mcp_streams_per_user": 1}])
async def test_only_so_many_streams(url: str, world: World, changes: dict[str, Any]) -> None:
    async with (
        httpx2.AsyncClient(base_url=url, headers=dict(world.alice.headers), timeout=60) as http,
        http.stream("GET", "/sse") as stream,
    ):
        assert stream.status_code == 200
        second = await http.get("/sse")
        assert_problem(second, 429, "rate_limited")
        assert second.headers["retry-after"] == "5"
