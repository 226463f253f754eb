"""Saved workflows: names, versions that never change, and runs by name."""

import asyncio
from typing import Any

import httpx2
import pytest

from tests.surfaces.flows import ECHOED, flow, ran, say
from tests.surfaces.test_http_errors import assert_problem
from tests.surfaces.world import World

pytestmark = pytest.mark.anyio
URL = "/v1/workflows/definitions"


async def save(
    http: httpx2.AsyncClient, name: str, definition: Any, status: int = 201, **more: Any
) -> dict[str, Any]:
    response = await http.put(f"{URL}/{name}", json={"definition": definition, **more})
    assert response.status_code == status, response.text
    return dict(response.json())


async def test_versions(http: httpx2.AsyncClient) -> None:
    first = await save(http, "mine", {**ECHOED, "title": "Say it"})
    assert (first["version"], first["title"]) == (1, "Say it")
    assert (await save(http, "mine", {**ECHOED, "title": "Say it"}, 200))["version"] == 1
    assert (await save(http, "mine", ECHOED))["version"] == 2
    shown = (await http.get(f"{URL}/mine")).json()
    assert (shown["version"], shown["definition"]) == (2, ECHOED)
    old = (await http.get(f"{URL}/mine?version=1")).json()
    assert old == first
    page = (await http.get(f"{URL}/mine/versions?limit=1")).json()
    assert [one["version"] for one in page["workflows"]] == [2]
    page = (await http.get(f"{URL}/mine/versions?before={page['next']}")).json()
    assert ([one["version"] for one in page["workflows"]], page["next"]) == ([1], None)
    assert_problem(await http.get(f"{URL}/mine?version=3"), 404, "not_found")
    assert_problem(await http.get(f"{URL}/other"), 404, "not_found")


async def test_the_list_and_the_end_of_a_name(http: httpx2.AsyncClient) -> None:
    for name in ("c", "a", "b"):
        await save(http, name, ECHOED)
    page = (await http.get(f"{URL}?limit=2")).json()
    assert [one["name"] for one in page["workflows"]] == ["a", "b"]
    page = (await http.get(f"{URL}?after={page['next']}")).json()
    assert [one["name"] for one in page["workflows"]] == ["c"]
    assert (await http.delete(f"{URL}/b")).status_code == 204
    assert_problem(await http.delete(f"{URL}/b"), 404, "not_found")
    assert_problem(await http.get(f"{URL}/b"), 404, "not_found")
    # A number once given is never given to something else.
    assert (await save(http, "b", ECHOED, base_version=0))["version"] == 2
    assert_problem(await http.get(f"{URL}/b?version=1"), 404, "not_found")


async def test_two_editors(http: httpx2.AsyncClient) -> None:
    await save(http, "mine", ECHOED, base_version=0)
    other = flow(a=say("a"))
    body = {"definition": other, "base_version": 1}
    answers = await asyncio.gather(*[http.put(f"{URL}/mine", json=body) for _ in range(4)])
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    problem = assert_problem(await http.put(f"{URL}/mine", json=body), 409, "conflict")
    assert problem["details"]["newest"] == 2


async def test_what_could_not_be_run_is_not_saved(http: httpx2.AsyncClient) -> None:
    wrong = flow(a={"tool": "words.say", "arguments": {"wort": 1}})
    response = await http.put(f"{URL}/mine", json={"definition": wrong})
    problem = assert_problem(response, 422, "unknown_field")
    assert problem["details"]["errors"][0]["pointer"] == "/nodes/a/arguments/wort"
    for name in ("Mine", "1", "a-b", "a%00b", "a" * 65):
        response = await http.put(f"{URL}/{name}", json={"definition": ECHOED})
        assert_problem(response, 422, "invalid_input")
    assert (await http.get(URL)).json() == {"workflows": [], "next": None}


async def test_a_run_by_name(http: httpx2.AsyncClient, world: World) -> None:
    await save(http, "mine", ECHOED)
    await save(http, "mine", flow(a=say("two")))
    first = await ran(http, "mine", {"word": "one"}, version=1)
    assert first["final_output"] == {"output": "one!"}
    assert first["workflow"]["saved"] == {"name": "mine", "version": 1}
    newest = await ran(http, "mine")
    assert newest["final_output"] == {"output": {"said": "two"}}
    check = await http.post("/v1/workflows/check", json={"workflow": "mine", "version": 1})
    assert check.json()["max_steps"] == 2
    body = {"workflow": "mine"}
    response = await http.post("/v1/workflows/runs", json=body, headers=dict(world.bob.headers))
    assert_problem(response, 404, "not_found")


async def test_another_tenant_has_names_of_its_own(http: httpx2.AsyncClient, world: World) -> None:
    bob = dict(world.bob.headers)
    await save(http, "mine", ECHOED)
    assert (await http.get(URL, headers=bob)).json()["workflows"] == []
    assert_problem(await http.get(f"{URL}/mine", headers=bob), 404, "not_found")
    assert_problem(await http.delete(f"{URL}/mine", headers=bob), 404, "not_found")
    response = await http.put(f"{URL}/mine", json={"definition": ECHOED}, headers=bob)
    assert (response.status_code, response.json()["version"]) == (201, 1)
