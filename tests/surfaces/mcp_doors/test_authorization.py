"""The server as an OAuth resource: tokens, challenges, metadata, step-up, CORS."""

import asyncio
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from mcp.shared.auth import ProtectedResourceMetadata
from mcp.shared.auth_utils import check_resource_allowed

from app.kernel.principal import SERVICE
from tests.auth.issuer import Issuer
from tests.auth.test_tokens import HOSTILE
from tests.books import assert_balanced
from tests.surfaces.mcp_doors.clients import (
    ACCEPT,
    Era,
    bearer,
    by_http,
    by_socket,
    initialize,
    modern,
    request,
)
from tests.surfaces.test_http_errors import assert_problem
from tests.surfaces.world import World, person

pytestmark = pytest.mark.anyio
ALL = "jobs tools files billing keys"


@pytest.fixture(params=["auto", "legacy"])
def era(request: pytest.FixtureRequest) -> Era:
    chosen: Era = request.param
    return chosen


def modern_headers(method: str, name: str | None = None) -> dict[str, str]:
    named = {} if name is None else {"mcp-name": name}
    return {"mcp-protocol-version": "2026-07-28", "mcp-method": method, **named, **ACCEPT}


async def test_tokens_do_what_keys_do(url: str, world: World, issuer: Issuer, era: Era) -> None:
    mine = {"sub": str(world.alice.user_id), "scope": ALL}
    for token in (issuer.token(**mine), issuer.elliptic(**mine), issuer.shared(**mine)):
        async with by_http(url, bearer(token), era) as client:
            said = await client.call_tool("words.say", {"word": "hi"})
            assert said.structured_content == {"said": "hi"}
        async with httpx2.AsyncClient(base_url=url, headers=bearer(token), timeout=60) as http:
            me = (await http.get("/v1/me")).json()
            assert (me["user_id"], me["key_id"]) == (str(world.alice.user_id), None)
    await assert_balanced(world.database)


@pytest.mark.parametrize("name", sorted(set(HOSTILE) - {"a secret where none counts"}))
async def test_hostile_tokens(url: str, world: World, issuer: Issuer, name: str) -> None:
    headers = bearer(HOSTILE[name](issuer))
    async with httpx2.AsyncClient(base_url=url, headers=headers | ACCEPT, timeout=60) as http:
        for answer in (
            await http.post("/mcp", json=initialize()),
            await http.get("/v1/me"),
            await http.post("/v1/mcp/tickets"),
        ):
            assert_problem(answer, 401, "unauthenticated")


async def test_nobody_becomes_an_operator_by_a_token(
    url: str, world: World, issuer: Issuer
) -> None:
    token = issuer.token(sub=str(world.alice.user_id), scope="admin jobs")
    async with httpx2.AsyncClient(base_url=url, headers=bearer(token), timeout=60) as http:
        assert (await http.get("/v1/me")).json()["scopes"] == ["jobs"]


async def test_a_token_without_an_account(url: str, world: World, issuer: Issuer) -> None:
    for sub in ("ada", "5b0e3a52-0000-4000-8000-000000000000"):
        token = issuer.token(sub=sub, email="ada@example.org", email_verified=True)
        async with httpx2.AsyncClient(base_url=url, headers=bearer(token), timeout=60) as http:
            assert_problem(await http.get("/v1/me"), 403, "forbidden")


@pytest.mark.parametrize("changes", [{"jwt_sign_up": True}])
async def test_an_account_at_the_first_visit(
    url: str, world: World, issuer: Issuer, changes: dict[str, Any]
) -> None:
    async def me(**claims: Any) -> httpx2.Response:
        token = issuer.token(scope=ALL, **claims)
        async with httpx2.AsyncClient(base_url=url, headers=bearer(token), timeout=60) as http:
            return await http.get("/v1/me")

    verified = {"email": "Ada@example.org", "email_verified": True}
    assert_problem(await me(sub="ada"), 403, "forbidden")
    assert_problem(await me(sub="ada", email="ada@example.org"), 403, "forbidden")
    first = (await me(sub="ada", **verified)).json()["user_id"]
    assert (await me(sub="ada")).json()["user_id"] == first
    assert (await me(sub="ada", email="bob@example.org", email_verified=True)).json()[
        "user_id"
    ] == first
    assert (await me(sub="ada2", **verified)).json()["user_id"] == first
    known = await me(sub="alice", email="alice@example.org", email_verified=True)
    assert known.json()["user_id"] == str(world.alice.user_id)
    async with world.database.begin(SERVICE) as uow:
        linked = (await uow.execute("select count(*) from app.user_identity")).scalar_one()
    assert linked == 3


async def test_step_up(url: str, world: World, issuer: Issuer) -> None:
    mine = str(world.alice.user_id)
    call = {"name": "words.say", "arguments": {"word": "hi"}}
    narrow = bearer(issuer.token(sub=mine, scope="jobs"))
    async with httpx2.AsyncClient(base_url=url, timeout=60) as http:
        now = await http.post(
            "/mcp",
            json=modern(1, "tools/call", **call),
            headers=narrow | modern_headers("tools/call", "words.say"),
        )
        opened = await http.post("/mcp", json=initialize(), headers=narrow | ACCEPT)
        session = {"mcp-session-id": opened.headers["mcp-session-id"]}
        before = await http.post(
            "/mcp", json=request(1, "tools/call", **call), headers=narrow | ACCEPT | session
        )
        for answer in (now, before):
            assert_problem(answer, 403, "forbidden")
            said = answer.headers["www-authenticate"]
            assert 'error="insufficient_scope"' in said
            assert 'scope="jobs tools"' in said
            assert f'resource_metadata="{url}/.well-known/oauth-protected-resource/mcp"' in said
        # The same session goes on with the token that the user gave more rights to.
        wide = bearer(issuer.token(sub=mine, scope="jobs tools"))
        after = await http.post(
            "/mcp", json=request(2, "tools/call", **call), headers=wide | ACCEPT | session
        )
        assert '"said":"hi"' in after.text.replace(" ", "").replace("\\", "")
    async with by_socket(url, narrow) as client:
        refused = await client.call_tool("words.say", {"word": "hi"})
        assert refused.structured_content["code"] == "forbidden"
    await assert_balanced(world.database)


async def test_a_session_is_its_clients(url: str, world: World, issuer: Issuer) -> None:
    mine = {"sub": str(world.alice.user_id), "scope": "jobs tools"}
    async with httpx2.AsyncClient(base_url=url, headers=ACCEPT, timeout=60) as http:
        first = bearer(issuer.token(**mine, client_id="a"))
        opened = await http.post("/mcp", json=initialize(), headers=first)
        session = {"mcp-session-id": opened.headers["mcp-session-id"]}
        for other in (
            bearer(issuer.token(**mine, client_id="b")),
            bearer(issuer.token(**{**mine, "sub": str(world.bob.user_id)}, client_id="a")),
            dict(world.alice.headers),
        ):
            for method in ("POST", "GET", "DELETE"):
                body = {"json": request(2, "tools/list")} if method == "POST" else {}
                stolen = await http.request(method, "/mcp", headers=other | session, **body)
                assert stolen.status_code == 404
        own = await http.post("/mcp", json=request(3, "ping"), headers=first | session)
        assert own.status_code == 200


async def test_streams_end_with_their_key(app: FastAPI, url: str, world: World) -> None:
    carol = await person(world.services, "carol@example.org")
    known = dict(carol.headers)
    listen = modern(1, "subscriptions/listen", notifications={"toolsListChanged": True})
    async with asyncio.timeout(30), httpx2.AsyncClient(base_url=url, timeout=60) as http:
        opened = await http.post("/mcp", json=initialize(), headers=known | ACCEPT)
        session = {"mcp-session-id": opened.headers["mcp-session-id"]}
        events = {"accept": "text/event-stream"}
        headers = known | modern_headers("subscriptions/listen")
        async with (
            http.stream("GET", "/mcp", headers=known | events | session) as old,
            http.stream("POST", "/mcp", json=listen, headers=headers) as new,
        ):
            assert (old.status_code, new.status_code) == (200, 200)
            seen = new.aiter_lines()
            while "acknowledged" not in await anext(seen):
                pass
            await app.state.gateway.streams.check()
            await http.delete(f"/v1/keys/{carol.principal.key_id}", headers=known)
            await app.state.gateway.streams.check()
            assert [line async for line in seen if line.startswith("data:")] == []
            assert [line async for line in old.aiter_lines() if line.startswith("data:")] == []


@pytest.mark.parametrize("door", ["", "/mcp", "/sse", "/ws"])
async def test_the_metadata(url: str, issuer: Issuer, world: World, door: str) -> None:
    async with httpx2.AsyncClient(base_url=url, timeout=60) as http:
        answer = await http.get(f"/.well-known/oauth-protected-resource{door}")
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "*"
        told = ProtectedResourceMetadata.model_validate(answer.json())
        assert str(told.resource) == url + (door or "/mcp")
        assert check_resource_allowed(url + (door or "/mcp"), str(told.resource))
        assert [str(each).rstrip("/") for each in told.authorization_servers] == [
            "https://login.example"
        ]
        assert told.scopes_supported == ["billing", "files", "jobs", "keys", "tools"]
        assert told.bearer_methods_supported == ["header"]
        rebound = await http.get(
            f"/.well-known/oauth-protected-resource{door}", headers={"host": "evil.example"}
        )
        assert_problem(rebound, 421, "forbidden")


@pytest.mark.parametrize("changes", [{"public_url": "https://uaol.example/"}])
async def test_the_public_address_is_told(url: str, world: World, changes: dict[str, Any]) -> None:
    async with httpx2.AsyncClient(base_url=url, headers=ACCEPT, timeout=60) as http:
        told = (await http.get("/.well-known/oauth-protected-resource")).json()
        assert told["resource"] == "https://uaol.example/mcp"
        nobody = await http.post("/mcp", json=initialize())
        said = nobody.headers["www-authenticate"]
        place = "https://uaol.example/.well-known/oauth-protected-resource/mcp"
        assert f'resource_metadata="{place}"' in said
        assert 'scope="billing files jobs keys tools"' in said
        assert "error=" not in said
        wrong = await http.post("/mcp", json=initialize(), headers=bearer("x"))
        assert 'error="invalid_token"' in wrong.headers["www-authenticate"]
        rebound = await http.post("/mcp", json=initialize(), headers={"host": 'evil"example'})
        assert rebound.status_code in {400, 421}


async def test_browsers_may_call(url: str, world: World, issuer: Issuer) -> None:
    asked = (
        "authorization, content-type, mcp-method, mcp-name, mcp-param-region,"
        " mcp-protocol-version, mcp-session-id, last-event-id"
    )
    preflight = {"access-control-request-method": "POST", "access-control-request-headers": asked}
    async with httpx2.AsyncClient(base_url=url, timeout=60) as http:
        for path in ("/mcp", "/sse", "/messages/", "/v1/mcp/tickets"):
            headers = {"origin": "https://ui.example", **preflight}
            answer = await http.options(path, headers=headers)
            assert answer.status_code == 200
            assert answer.headers["access-control-allow-origin"] == "https://ui.example"
            allowed = answer.headers["access-control-allow-headers"].lower()
            assert {each.strip() for each in asked.split(",")} <= {
                each.strip() for each in allowed.split(",")
            }
            assert {"GET", "POST", "DELETE"} <= set(
                answer.headers["access-control-allow-methods"].split(", ")
            )
            foreign = await http.options(path, headers=headers | {"origin": "https://evil.example"})
            assert foreign.status_code == 400
            assert "access-control-allow-origin" not in foreign.headers
        nobody = await http.post(
            "/mcp", json=initialize(), headers={"origin": "https://ui.example", **ACCEPT}
        )
        assert_problem(nobody, 401, "unauthenticated")
        assert nobody.headers["access-control-allow-origin"] == "https://ui.example"
        exposed = nobody.headers["access-control-expose-headers"].lower()
        assert {"mcp-session-id", "www-authenticate"} <= set(exposed.split(", "))
