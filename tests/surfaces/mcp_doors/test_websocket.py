"""MCP over a WebSocket: the client of the SDK in both eras, and what is refused."""

import asyncio
import contextlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from mcp import Client
from mcp.shared.exceptions import MCPError
from websockets.exceptions import ConnectionClosed, InvalidStatus

from app.kernel.principal import SERVICE
from app.sdk import WebSocketRefusedError, websocket_client
from tests.auth.issuer import Issuer
from tests.books import assert_balanced
from tests.surfaces.conftest import PlayedProxy
from tests.surfaces.mcp_doors.clients import (
    Era,
    ask,
    bearer,
    by_socket,
    initialize,
    modern,
    raw_socket,
    request,
    socket_url,
    tell,
)
from tests.surfaces.world import CREDITS, TOOL_PRICE, World

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["auto", "legacy"])
def era(request: pytest.FixtureRequest) -> Era:
    chosen: Era = request.param
    return chosen


async def closing(socket: Any) -> int:
    """The code that the server closes with, after whatever else it sends."""
    with contextlib.suppress(ConnectionClosed):
        async for _ in socket:
            pass
    return int(socket.close_code)


async def held(client: Client) -> tuple[int, int]:
    wallet = (await client.call_tool("billing.get_wallet", {})).structured_content
    return wallet["held_micro"], wallet["captured_micro"]


async def test_tools_tasks_and_progress(url: str, world: World, era: Era) -> None:
    told: list[str] = []

    async def progress(_done: float, _total: float | None, message: str | None) -> None:
        told.append(message or "")

    async with by_socket(url, world.alice.headers, era) as client:
        assert client.protocol_version == ("2026-07-28" if era == "auto" else "2025-11-25")
        assert "words.say" in [tool.name for tool in (await client.list_tools()).tools]
        said = await client.call_tool("words.say", {"word": "hi"})
        assert said.structured_content == {"said": "hi"}
        arguments = {"template": "echo", "input": {"text": "hello"}, "wait": True}
        job = await client.call_tool("bio_agent.run_task", arguments, progress_callback=progress)
        report = next(
            file for file in job.structured_content["files"] if file["name"] == "report.md"
        )
        assert (await client.read_resource(report["uri"])).contents[0].text == "# hello\n"
        assert report["url"].startswith(url)
        with pytest.raises(MCPError):
            await client.call_tool("no.such", {})
    assert "half (1/2)" in told
    await assert_balanced(world.database)


async def test_each_socket_is_its_users(url: str, world: World, era: Era) -> None:
    async with (
        by_socket(url, world.alice.headers, era) as alice,
        by_socket(url, world.bob.headers, era) as bob,
    ):
        job = await alice.call_tool(
            "bio_agent.run_task", {"template": "echo", "input": {"text": "a"}, "wait": True}
        )
        uri = f"uaol://jobs/{job.structured_content['job_id']}/trace"
        assert (await alice.read_resource(uri)).contents
        with pytest.raises(MCPError) as caught:
            await bob.read_resource(uri)
        assert caught.value.data["code"] == "not_found"
        assert (await held(bob))[1] == 0


async def test_a_call_that_is_cancelled_costs_nothing(url: str, world: World, era: Era) -> None:
    proxy = world.services.proxy
    assert isinstance(proxy, PlayedProxy)
    async with by_socket(url, world.alice.headers, era) as client, asyncio.timeout(20):
        call = asyncio.create_task(client.call_tool("words.hang", {"word": "x"}))
        await proxy.is_hanging.wait()
        assert (await held(client))[0] == TOOL_PRICE
        call.cancel()
        await asyncio.wait({call})
        while (await held(client))[0]:
            pass
        assert await held(client) == (0, 0)
    await assert_balanced(world.database)


async def test_a_client_that_leaves_in_a_call_costs_nothing(url: str, world: World) -> None:
    proxy = world.services.proxy
    assert isinstance(proxy, PlayedProxy)
    async with asyncio.timeout(20):
        async with raw_socket(url, world.alice.headers) as socket:
            call = {"name": "words.hang", "arguments": {"word": "x"}}
            await tell(socket, modern(1, "tools/call", **call))
            await proxy.is_hanging.wait()
        async with by_socket(url, world.alice.headers) as client:
            while (await held(client))[0]:
                pass
            assert await held(client) == (0, 0)
    await assert_balanced(world.database)


async def ticket(url: str, headers: Any) -> dict[str, Any]:
    async with httpx2.AsyncClient(base_url=url, timeout=60) as http:
        answer = await http.post("/v1/mcp/tickets", headers=dict(headers))
    assert answer.status_code == 201
    assert answer.headers["cache-control"] == "no-store"
    return dict(answer.json())


async def test_a_ticket_opens_one_socket(url: str, world: World) -> None:
    began = datetime.now(UTC)
    given = await ticket(url, world.alice.headers)
    assert given["url"] == socket_url(url)
    until = datetime.fromisoformat(given["expires_at"])
    assert began + timedelta(seconds=10) < until <= datetime.now(UTC) + timedelta(seconds=31)
    offered = tuple(given["subprotocols"])
    async with raw_socket(url, offered=offered, origin="https://ui.example") as socket:
        assert socket.subprotocol == "mcp"
        answer = await ask(socket, modern(1, "tools/call", name="billing.get_wallet", arguments={}))
        wallet = answer["result"]["structuredContent"]
        assert (wallet["user_id"], wallet["available_micro"]) == (
            str(world.alice.user_id),
            CREDITS,
        )
        with pytest.raises(InvalidStatus) as caught:
            async with raw_socket(url, offered=offered):
                pass
        assert caught.value.response.status_code == 401
    async with by_socket(url, ticket=(await ticket(url, world.bob.headers))["ticket"]) as client:
        assert (await held(client)) == (0, 0)


async def test_an_old_ticket_and_one_of_a_revoked_key(url: str, world: World) -> None:
    old = await ticket(url, world.alice.headers)
    async with world.database.begin(SERVICE) as uow:
        await uow.execute("update app.mcp_ticket set expires_at = now()")
    orphan = await ticket(url, world.bob.headers)
    async with world.database.begin(SERVICE) as uow:
        key_id = world.bob.principal.key_id
        assert key_id is not None
        await world.services.auth.revoke_key(uow, world.bob.user_id, key_id)
    for given in (old["ticket"], orphan["ticket"], "uaolt_" + "A" * 43, "x", ""):
        with pytest.raises(WebSocketRefusedError) as caught:
            async with websocket_client(socket_url(url), ticket=given):
                pass
        assert caught.value.status == 401
        assert json.loads(caught.value.body)["code"] == "unauthenticated"


async def test_tickets_do_not_pile_up(url: str, world: World) -> None:
    async with httpx2.AsyncClient(
        base_url=url, headers=dict(world.alice.headers), timeout=60
    ) as http:
        answers = [(await http.post("/v1/mcp/tickets")).status_code for _ in range(21)]
        assert answers == [201] * 20 + [429]
        async with world.database.begin(SERVICE) as uow:
            await uow.execute("update app.mcp_ticket set expires_at = now()")
        assert (await http.post("/v1/mcp/tickets")).status_code == 201
    async with world.database.begin(SERVICE) as uow:
        left = (await uow.execute("select count(*) from app.mcp_ticket")).scalar_one()
    assert left == 1


async def test_nobody_gets_in_without_a_credential(url: str, world: World, issuer: Issuer) -> None:
    key = world.alice.key
    given = await ticket(url, world.alice.headers)
    for headers, offered, query in (
        ({}, ("mcp",), ""),
        ({}, ("mcp",), f"?access_token={key}&token={key}&ticket={given['ticket']}"),
        ({"cookie": f"token={key}"}, ("mcp",), ""),
        (bearer("nonsense"), ("mcp",), ""),
        (bearer(given["ticket"]), ("mcp",), ""),
        (bearer(issuer.unsigned(sub=str(world.alice.user_id))), ("mcp",), ""),
        (bearer(issuer.token(aud="https://other.example")), ("mcp",), ""),
        ({}, ("mcp", f"uaol.ticket.{key}"), ""),
        ({}, ("mcp", f"uaol.ticket.{given['ticket']}", "uaol.ticket.x"), ""),
    ):
        with pytest.raises(InvalidStatus) as caught:
            async with raw_socket(url, headers, offered=offered, query=query):
                pass
        response = caught.value.response
        assert response.status_code == 401
        assert response.headers["content-type"] == "application/problem+json"
        said = response.headers["www-authenticate"]
        assert f'resource_metadata="{url}/.well-known/oauth-protected-resource/ws"' in said
        assert ('error="invalid_token"' in said) == ("authorization" in headers)


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("https://evil.example", "", 403),
        ("null", "", 403),
        ("https://ui.example.evil.example", "", 403),
        (None, "evil.example", 421),
        (None, "localhost.evil.example", 421),
    ],
)
async def test_foreign_pages_and_hosts(
    url: str, world: World, origin: str | None, host: str, status: int
) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with raw_socket(url, world.alice.headers, origin=origin, host=host):
            pass
    assert caught.value.response.status_code == status
    assert caught.value.response.headers["content-type"] == "application/problem+json"
    async with raw_socket(url, world.alice.headers, origin="https://ui.example") as socket:
        assert "result" in await ask(socket, modern(1, "tools/list"))


@pytest.mark.parametrize("offered", [(), ("graphql-ws",)])
async def test_the_subprotocol_must_be_offered(
    url: str, world: World, offered: tuple[str, ...]
) -> None:
    with pytest.raises(InvalidStatus) as caught:
        async with raw_socket(url, world.alice.headers, offered=offered):
            pass
    assert caught.value.response.status_code == 422


async def test_a_frame_that_is_too_large(url: str, world: World) -> None:
    for length in (70_000, 2_000_000):
        async with raw_socket(url, world.alice.headers) as socket:
            await tell(socket, "x" * length)
            assert await closing(socket) == 1009
    async with raw_socket(url, world.alice.headers) as socket:
        # Fewer characters than the limit has bytes.
        await tell(socket, "é" * 40_000)
        assert await closing(socket) == 1009


async def test_a_frame_that_is_no_text(url: str, world: World) -> None:
    async with raw_socket(url, world.alice.headers) as socket:
        await tell(socket, json.dumps(modern(1, "tools/list")).encode())
        assert await closing(socket) == 1003


@pytest.mark.parametrize(
    ("frame", "code", "number"),
    [
        ("", -32700, None),
        ("{", -32700, None),
        ("[" * 60_000, -32700, None),
        ('{"a":' * 10_000, -32700, None),
        ("[]", -32600, None),
        ("5", -32600, None),
        ("null", -32600, None),
        (json.dumps([request(1, "ping"), request(2, "ping")]), -32600, None),
        ('{"jsonrpc":"1.0","id":7,"method":"ping"}', -32600, 7),
        ('{"id":"a","method":"ping"}', -32600, "a"),
        ('{"jsonrpc":"2.0","id":true,"method":"ping"}', -32600, None),
        ('{"jsonrpc":"2.0","id":{},"method":"ping"}', -32600, None),
        ('{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600, None),
        ('{"jsonrpc":"2.0","id":1.5,"method":"ping"}', -32600, None),
        ('{"jsonrpc":"2.0","id":8,"method":5}', -32600, 8),
        ('{"jsonrpc":"2.0","id":9,"method":"ping","params":[1]}', -32600, 9),
    ],
)
async def test_what_is_no_message_is_answered(
    url: str, world: World, frame: str, code: int, number: object
) -> None:
    async with raw_socket(url, world.alice.headers) as socket, asyncio.timeout(20):
        answer = await ask(socket, frame)
        assert (answer["error"]["code"], answer["id"]) == (code, number)
        assert "result" in await ask(socket, modern(10, "tools/list"))


async def test_the_eras_are_not_mixed(url: str, world: World) -> None:
    async with raw_socket(url, world.alice.headers) as socket:
        assert "result" in await ask(socket, modern(1, "tools/list"))
        assert (await ask(socket, initialize()))["error"]["code"] == -32022
        assert "error" in await ask(socket, request(2, "tools/list"))
    async with raw_socket(url, world.alice.headers) as socket:
        assert (await ask(socket, request(1, "tools/list")))["error"]["code"] == -32602
        started = await ask(socket, initialize("2024-11-05"))
        assert started["result"]["protocolVersion"] == "2024-11-05"
        await tell(socket, {"jsonrpc": "2.0", "method": "notifications/initialized"})
        assert "result" in await ask(socket, request(3, "tools/list"))
        assert (await ask(socket, modern(4, "tools/list")))["error"]["code"] == -32600


@pytest.mark.parametrize("changes", [{"mcp_stream_calls": 2}])
async def test_only_so_many_calls_at_once(url: str, world: World, changes: dict[str, Any]) -> None:
    call = {"name": "words.hang", "arguments": {"word": "x"}}
    async with raw_socket(url, world.alice.headers) as socket, asyncio.timeout(20):
        await ask(socket, initialize())
        await tell(socket, request(1, "tools/call", **call))
        again = await ask(socket, request("1", "ping"))
        assert (again["id"], again["error"]["code"]) == ("1", -32600)
        await tell(socket, request(2, "tools/call", **call))
        third = await ask(socket, request(3, "tools/call", **call))
        assert (third["id"], third["error"]["code"]) == (3, -32010)
        assert third["error"]["data"] == {"code": "rate_limited"}
        gone = {"method": "notifications/cancelled", "params": {"requestId": 2}}
        await tell(socket, {"jsonrpc": "2.0", **gone})
        number, answer = 4, await ask(socket, request(4, "ping"))
        while "error" in answer:
            assert answer["error"]["code"] == -32010
            number += 1
            answer = await ask(socket, request(number, "ping"))
        assert (answer["id"], answer["result"]) == (number, {})


@pytest.mark.parametrize("changes", [{"mcp_streams_per_user": 1}, {"mcp_streams": 1}])
async def test_only_so_many_sockets(url: str, world: World, changes: dict[str, Any]) -> None:
    async with raw_socket(url, world.alice.headers) as socket:
        with pytest.raises(InvalidStatus) as caught:
            async with raw_socket(url, world.alice.headers):
                pass
        response = caught.value.response
        assert (response.status_code, response.headers["retry-after"]) == (429, "5")
        assert "result" in await ask(socket, modern(1, "tools/list"))


async def test_a_socket_ends_with_its_key(app: FastAPI, url: str, world: World) -> None:
    given = await ticket(url, world.alice.headers)
    async with (
        raw_socket(url, world.alice.headers) as socket,
        raw_socket(url, offered=tuple(given["subprotocols"])) as by_ticket,
        raw_socket(url, world.bob.headers) as other,
        asyncio.timeout(20),
    ):
        await app.state.gateway.streams.check()
        assert b"mcp_streams 3.0" in world.services.metrics.render()
        assert "result" in await ask(socket, modern(1, "tools/list"))
        async with httpx2.AsyncClient(
            base_url=url, headers=dict(world.alice.headers), timeout=60
        ) as http:
            await http.delete(f"/v1/keys/{world.alice.principal.key_id}")
        await app.state.gateway.streams.check()
        assert await closing(socket) == 4401
        assert await closing(by_ticket) == 4401
        assert "result" in await ask(other, modern(1, "tools/list"))


@pytest.mark.parametrize("changes", [{"jwt_leeway": 30.0}])
async def test_a_socket_ends_with_its_token(
    app: FastAPI, url: str, world: World, issuer: Issuer, changes: dict[str, Any]
) -> None:
    mine = str(world.alice.user_id)
    over = issuer.token(sub=mine, scope="jobs tools", exp=issuer.claims()["iat"] - 1)
    async with (
        raw_socket(url, bearer(issuer.token(sub=mine, scope="jobs tools"))) as socket,
        raw_socket(url, bearer(over)) as last,
        asyncio.timeout(20),
    ):
        assert "result" in await ask(last, modern(1, "tools/list"))
        await app.state.gateway.streams.check()
        assert await closing(last) == 4401
        assert "result" in await ask(socket, modern(1, "tools/list"))


@pytest.mark.parametrize("changes", [{"mcp_stream_seconds": 0.0}])
async def test_a_socket_does_not_live_for_ever(
    app: FastAPI, url: str, world: World, changes: dict[str, Any]
) -> None:
    async with raw_socket(url, world.alice.headers) as socket, asyncio.timeout(20):
        await app.state.gateway.streams.check()
        assert await closing(socket) == 4408
        while len(app.state.gateway.streams):
            await app.state.gateway.streams.check()
