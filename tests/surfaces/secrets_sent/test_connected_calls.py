"""Calls to a server with OAuth of its own: refused, connected, renewed, stepped up."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import FastAPI, Response

from app.kernel.settings import Settings
from app.registry import Prices, ServerConfig, UpstreamOAuth
from app.surfaces.listening import bind, listening, url_of
from tests.books import assert_balanced
from tests.proxy.oauth.servers import AuthServer, McpServer
from tests.surfaces.secrets_sent.house import House, opened
from tests.surfaces.secrets_sent.upstream import Leaky
from tests.surfaces.test_http_errors import assert_problem
from tests.surfaces.world import World

pytestmark = pytest.mark.anyio

PRICE = 1000


class Protected(Leaky):
    """Asks for a token of `guard` for each call; `progress` needs the scope `write` too."""

    def __init__(self, guard: McpServer) -> None:
        super().__init__()
        self.guard = guard
        self._metadata = FastAPI()
        path = "/.well-known/oauth-protected-resource/mcp"
        self._metadata.add_api_route(path, guard.describe)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/mcp"):
            await self._metadata(scope, receive, send)
            return
        body = await _whole(scope, receive)
        headers = {key.decode(): value.decode() for key, value in scope["headers"]}
        asked = json.loads(body) if body else {}
        # The platform lists the tools without a token; who asks how to get one is told so.
        if asked.get("method") == "tools/call" or headers.get("user-agent") == "uaol":
            needed = "write" if asked["params"].get("name") == "progress" else "read"
            status, told = self.guard.check(headers.get("authorization"), needed)
            if status != 200:
                refusal = Response(status_code=status, headers={"www-authenticate": str(told)})
                await refusal(scope, receive, send)
                return
        await self._app(scope, _again(body, receive), send)


async def _whole(scope: Any, receive: Any) -> bytes:
    body, more = b"", scope["method"] == "POST"
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return body


def _again(body: bytes, rest: Any) -> Any:
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Any:
        return messages.pop() if messages else await rest()

    return receive


@dataclass
class Site:
    house: House
    guard: McpServer
    server: Protected

    @property
    def auth(self) -> AuthServer:
        return self.guard.auth

    async def connect(self) -> None:
        """By the pages, as a user does."""
        path = "/v1/oauth/connect/far"
        page = await self.house.http.post(path, data={"key": self.house.world.alice.key})
        assert page.status_code == 200, page.text
        flow = page.text.partition('name="flow" value="')[2][:36]
        leaving = await self.house.http.post(f"{path}/approve", data={"flow": flow})
        back = await self.house.http.get(leaving.headers["location"])
        done = await self.house.http.get(back.headers["location"])
        assert done.status_code == 200, done.text


@pytest.fixture
async def site(world: World, settings: Settings) -> AsyncIterator[Site]:
    auth = AuthServer()
    guard = McpServer(auth)
    server, door, place = Protected(guard), bind("127.0.0.1", 0), bind("127.0.0.1", 0)
    auth.url = url_of(place)
    settings = settings.model_copy(
        update={"public_url": url_of(door), "servers_allow_private": True}
    )
    async with server.serving(), listening(auth.app(), settings, place):
        guard.url = server.url
        config = ServerConfig(
            name="far",
            url=server.url,
            prices=Prices(PRICE),
            is_trusted=True,
            oauth=UpstreamOAuth(),
        )
        async with opened(world, settings, config, door) as house:
            yield Site(house, guard, server)


async def test_from_the_first_refusal_to_an_answer(site: Site) -> None:
    problem = assert_problem(await site.house.call(), 409, "connection_required")
    url = problem["details"]["connect_url"]
    assert (await site.house.http.get(url)).status_code == 200
    assert await site.house.spent() == (0, 0)
    await site.connect()
    answer = await site.house.call()
    assert answer.status_code == 200, answer.text
    (token,) = site.auth.access
    assert site.server.tokens == [f"Bearer {token}"]
    assert token not in answer.text
    assert await site.house.spent() == (PRICE, 0)
    await assert_balanced(site.house.world.database)


async def test_a_token_that_is_turned_down_is_renewed_and_the_call_goes_through(
    site: Site,
) -> None:
    await site.connect()
    assert (await site.house.call()).status_code == 200
    for issued in site.auth.access.values():
        issued.is_live = False
    async with site.house.world.database.begin(site.house.world.alice.principal.elevated()) as uow:
        await uow.execute(
            "update app.oauth_connection set refreshed_at = now() - interval '1 hour'"
        )
    assert (await site.house.call()).status_code == 200
    assert site.auth.count("refresh_token") == 1
    assert len(site.server.tokens) == 2
    assert await site.house.spent() == (2 * PRICE, 0)


async def test_more_consent_is_asked_for_and_given(site: Site) -> None:
    await site.connect()
    problem = assert_problem(await site.house.call("progress"), 409, "connection_required")
    assert problem["details"]["scopes"] == ["write"]
    assert await site.house.spent() == (0, 0)
    await site.connect()
    assert (await site.house.call("progress")).status_code == 200


async def test_another_user_is_not_connected_by_it(site: Site) -> None:
    await site.connect()
    answer = await site.house.call(headers=dict(site.house.world.bob.headers))
    assert_problem(answer, 409, "connection_required")


async def test_a_lost_connection_costs_nothing_and_closes_no_circuit(site: Site) -> None:
    await site.connect()
    for each in (*site.auth.access.values(), *site.auth.refresh.values()):
        each.is_live = False
    async with site.house.world.database.begin(site.house.world.alice.principal.elevated()) as uow:
        await uow.execute(
            "update app.oauth_connection set refreshed_at = now() - interval '1 hour'"
        )
    for _ in range(8):
        assert_problem(await site.house.call(), 409, "connection_required")
    assert await site.house.spent() == (0, 0)
    await site.connect()
    assert (await site.house.call()).status_code == 200
