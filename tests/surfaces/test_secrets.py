"""Secrets through both doors: no answer ever holds a value, and nobody sees another's."""

from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from app.kernel.principal import SERVICE, Scope
from app.kernel.settings import Settings
from app.main import create_app
from tests.surfaces.safes import SafeWorld, safes
from tests.surfaces.test_http_errors import assert_problem
from tests.surfaces.test_mcp import Era, call, connected, era, refused
from tests.surfaces.world import World, person

__all__ = ["era", "safes"]
pytestmark = pytest.mark.anyio

VALUE = "canary-0123456789"
SET = {"value": VALUE, "servers": ["api"]}


@pytest.fixture
def app(safes: SafeWorld) -> FastAPI:
    return create_app(safes.services)


async def put(http: httpx2.AsyncClient, name: str = "TOKEN", **more: Any) -> dict[str, Any]:
    response = await http.put(f"/v1/secrets/{name}", json=SET | more)
    assert response.status_code == 200, response.text
    assert VALUE not in response.text
    return dict(response.json())


async def test_a_secret_from_its_setting_to_its_end(http: httpx2.AsyncClient) -> None:
    made = await put(http)
    assert (made["name"], made["scope"], made["version"]) == ("TOKEN", "user", 1)
    assert made["origins"] == ["https://api.example"]
    rotated = await http.post("/v1/secrets/TOKEN/rotate", json={"value": "another-value"})
    assert rotated.json()["version"] == 2
    assert rotated.json()["origins"] == made["origins"]
    listed = await http.get("/v1/secrets")
    assert [one["name"] for one in listed.json()["secrets"]] == ["TOKEN"]
    assert VALUE not in listed.text + rotated.text
    assert "another-value" not in listed.text + rotated.text
    assert (await http.delete("/v1/secrets/TOKEN")).status_code == 204
    assert_problem(await http.delete("/v1/secrets/TOKEN"), 404, "not_found")
    gone = await http.post("/v1/secrets/TOKEN/rotate", json={"value": "another-value"})
    assert_problem(gone, 404, "not_found")


@pytest.mark.parametrize(
    ("name", "body", "status", "code"),
    [
        ("TOKEN", {}, 422, "invalid_input"),
        ("TOKEN", {"value": VALUE}, 422, "invalid_input"),
        ("TOKEN", {"value": VALUE, "servers": []}, 422, "invalid_input"),
        ("TOKEN", {"value": VALUE, "servers": ["nobody"]}, 404, "not_found"),
        ("TOKEN", SET | {"scope": "oauth"}, 422, "invalid_input"),
        ("TOKEN", SET | {"scope": "project"}, 422, "invalid_input"),
        ("TOKEN", SET | {"scope": "developer"}, 403, "forbidden"),
        ("TOKEN", SET | {"more": 1}, 422, "unknown_field"),
        ("TOKEN", SET | {"value": "short"}, 422, "invalid_input"),
        ("TOKEN", SET | {"value": VALUE + "\n"}, 422, "invalid_input"),
        ("TOKEN", SET | {"value": [VALUE]}, 422, "invalid_input"),
        ("TOKEN", SET | {"value": VALUE + "\x00"}, 422, "invalid_input"),
        ("1TOKEN", SET, 422, "invalid_input"),
        ("a" * 65, SET, 422, "invalid_input"),
        ("a%20b", SET, 422, "invalid_input"),
    ],
)
async def test_what_can_be_no_secret_is_refused_without_repeating_it(
    http: httpx2.AsyncClient, name: str, body: dict[str, Any], status: int, code: str
) -> None:
    response = await http.put(f"/v1/secrets/{name}", json=body)
    assert_problem(response, status, code)
    assert "canary" not in response.text
    assert (await http.get("/v1/secrets")).json() == {"secrets": []}


async def test_nobody_sees_or_changes_anothers(http: httpx2.AsyncClient, safes: SafeWorld) -> None:
    await put(http)
    bob = {"authorization": f"Bearer {safes.world.bob.key}"}
    assert (await http.get("/v1/secrets", headers=bob)).json() == {"secrets": []}
    gone = await http.delete("/v1/secrets/TOKEN", headers=bob)
    assert_problem(gone, 404, "not_found")
    other = await http.post(
        "/v1/secrets/TOKEN/rotate", json={"value": "another-value"}, headers=bob
    )
    assert_problem(other, 404, "not_found")
    assert len((await http.get("/v1/secrets")).json()["secrets"]) == 1


async def test_a_key_without_the_scope_is_refused(
    http: httpx2.AsyncClient, safes: SafeWorld
) -> None:
    scopes = frozenset({Scope.TOOLS})
    carol = await person(safes.services, "carol@example.org", scopes)
    headers = dict(carol.headers)
    for method, path in (
        ("GET", "/v1/secrets"),
        ("PUT", "/v1/secrets/TOKEN"),
        ("DELETE", "/v1/secrets/TOKEN"),
        ("POST", "/v1/secrets/TOKEN/rotate"),
        ("GET", "/v1/oauth/connections"),
        ("DELETE", "/v1/oauth/connections/api"),
    ):
        body = SET if method == "PUT" else {"value": VALUE} if method == "POST" else None
        response = await http.request(method, path, json=body, headers=headers)
        assert_problem(response, 403, "forbidden")


async def test_a_projects_key_sets_its_secret(
    http: httpx2.AsyncClient, safes: SafeWorld, world: World
) -> None:
    services, alice = safes.services, world.alice.user_id
    async with world.database.begin(SERVICE) as uow:
        project = await services.auth.ensure_project(uow, alice, "Globins")
        key = await services.auth.issue_key(
            uow, alice, name="p", scopes=frozenset({Scope.KEYS}), project_id=project.project_id
        )
    headers = {"authorization": f"Bearer {key.secret}"}
    body = SET | {"scope": "project"}
    made = await http.put("/v1/secrets/TOKEN", json=body, headers=headers)
    assert made.json()["project_id"] == str(project.project_id)
    gone = await http.delete("/v1/secrets/TOKEN?scope=project", headers=headers)
    assert gone.status_code == 204


async def test_over_mcp(url: str, safes: SafeWorld, era: Era) -> None:
    async with connected(url, safes.world.alice, era) as client:
        made = await call(client, "secrets.set", name="TOKEN", **SET)
        assert made["version"] == 1
        listed = await call(client, "secrets.list")
        assert [one["name"] for one in listed["secrets"]] == ["TOKEN"]
        assert VALUE not in str(listed) + str(made)
        gone = await call(client, "secrets.delete", name="TOKEN")
        assert gone == {"name": "TOKEN", "scope": "user"}
        wrong = await refused(client, "secrets.set", name="TOKEN", value="short", servers=["api"])
        assert wrong["code"] == "invalid_input"


async def test_a_server_without_a_safe_says_so(world: World, settings: Settings) -> None:
    transport = httpx2.ASGITransport(app=create_app(world.services))
    async with httpx2.AsyncClient(
        transport=transport, base_url="http://localhost", headers=dict(world.alice.headers)
    ) as http:
        assert_problem(await http.get("/v1/secrets"), 404, "not_found")
