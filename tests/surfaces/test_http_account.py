"""Who calls, what they have, their keys, and what operators see."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import httpx2
import pytest

from app.kernel.principal import Scope
from app.main import create_app
from app.orchestration import Worker
from app.orchestration.dispatch import DispatchState
from tests.surfaces.test_http_errors import assert_problem
from tests.surfaces.world import CREDITS, TASK_PRICE, World, person

pytestmark = pytest.mark.anyio


async def test_me_and_wallet(http: httpx2.AsyncClient, world: World) -> None:
    me = (await http.get("/v1/me")).json()
    assert me["user_id"] == str(world.alice.user_id)
    assert me["scopes"] == ["billing", "files", "jobs", "keys", "tools"]
    wallet = (await http.get("/v1/wallet")).json()
    assert (wallet["available_micro"], wallet["held_micro"]) == (CREDITS, 0)


async def test_templates_tools_and_quotes(http: httpx2.AsyncClient) -> None:
    shown = (await http.get("/v1/templates")).json()["templates"][0]
    assert shown["name"] == "echo"
    assert shown == (await http.get("/v1/templates/echo")).json()
    assert shown["input_schema"]["additionalProperties"] is False
    tools = (await http.get("/v1/tools")).json()["tools"]
    assert [t["name"] for t in tools] == [
        "words.break",
        "words.free",
        "words.hang",
        "words.refuse",
        "words.say",
    ]
    quote = (await http.post("/v1/quotes", json={"kind": "template", "name": "echo"})).json()
    assert (quote["amount_micro"], quote["mode"]) == (TASK_PRICE, "outcome")
    quote = (await http.post("/v1/quotes", json={"kind": "tool", "name": "words_say"})).json()
    assert quote["name"] == "words.say"


async def test_a_key_lives_and_dies(http: httpx2.AsyncClient) -> None:
    made = await http.post("/v1/keys", json={"name": "narrow", "scopes": ["jobs"]})
    assert made.status_code == 201
    key, secret = made.json()["key"], made.json()["secret"]
    narrow = {"authorization": f"Bearer {secret}"}
    assert (await http.get("/v1/jobs", headers=narrow)).status_code == 200
    assert_problem(await http.get("/v1/keys", headers=narrow), 403, "forbidden")
    assert_problem(await http.get("/v1/wallet", headers=narrow), 403, "forbidden")
    assert (await http.get("/v1/tools", headers=narrow)).json() == {"tools": []}
    listed = (await http.get("/v1/keys")).json()["keys"]
    assert key["key_id"] in {item["key_id"] for item in listed}
    assert secret not in str(listed)
    assert (await http.delete(f"/v1/keys/{key['key_id']}")).status_code == 204
    assert_problem(await http.get("/v1/jobs", headers=narrow), 401, "unauthenticated")


async def test_a_key_gives_no_more_than_it_has(http: httpx2.AsyncClient, world: World) -> None:
    keeper = await person(world.services, "carol@example.org", frozenset({Scope.KEYS}), 0)
    for scopes in (["jobs"], ["admin"]):
        response = await http.post(
            "/v1/keys", json={"name": "more", "scopes": scopes}, headers=dict(keeper.headers)
        )
        assert_problem(response, 403, "forbidden")
    wrong = await http.post("/v1/keys", json={"name": "x", "scopes": ["root"]})
    assert_problem(wrong, 422, "invalid_input")


async def test_operators_routes(http: httpx2.AsyncClient, world: World) -> None:
    async with asyncio.timeout(30):
        # A busy machine may keep the hub from answering in the time it is given.
        while (health := (await http.get("/healthz")).json())["hub"] != {"is_up": True}:
            await asyncio.sleep(0.01)
    assert health["sandbox"]["is_up"] is False
    assert health["status"] == "degraded"
    async with asyncio.timeout(30):
        while (await http.get("/readyz")).status_code != 200:
            await asyncio.sleep(0.01)
    await http.get("/v1/jobs/00000000-0000-0000-0000-000000000000")
    text = (await http.get("/metrics")).text
    assert 'route="/v1/jobs/{job_id}",status="404"' in text


async def test_not_ready_before_the_worker(world: World) -> None:
    state = DispatchState("postgres", True)
    idle = cast("Worker", SimpleNamespace(is_ready=False, dispatch=lambda: state))
    transport = httpx2.ASGITransport(app=create_app(replace(world.services, worker=idle)))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        assert_problem(await client.get("/readyz"), 503, "not_ready")
        assert (await client.get("/healthz")).status_code == 200


async def test_cors_for_the_allowed_origin_only(http: httpx2.AsyncClient) -> None:
    asked = {
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,mcp-protocol-version,last-event-id",
    }
    known = await http.options("/mcp", headers={"origin": "https://ui.example"} | asked)
    assert known.status_code == 200
    assert known.headers["access-control-allow-origin"] == "https://ui.example"
    other = await http.options("/mcp", headers={"origin": "https://evil.example"} | asked)
    assert "access-control-allow-origin" not in other.headers
    shown = await http.get("/v1/me", headers={"origin": "https://ui.example"})
    assert "Mcp-Session-Id" in shown.headers["access-control-expose-headers"]
