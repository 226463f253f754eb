"""Workflows over HTTP: checked before anything is held, priced by what ran, shown step by step."""

from typing import Any

import httpx2
import pytest

from app.kernel.principal import SERVICE, Scope
from tests.books import assert_balanced
from tests.surfaces.conftest import PlayedProxy
from tests.surfaces.flows import ECHOED, flow, ran, say, start, states, steps
from tests.surfaces.test_http_errors import assert_problem
from tests.surfaces.test_http_jobs import ended
from tests.surfaces.world import CREDITS, PICK_PRICE, TOOL_PRICE, World, person

pytestmark = pytest.mark.anyio
SAY, PICK = "tool:words.say", "template:pick"


async def check(http: httpx2.AsyncClient, workflow: Any, **more: Any) -> dict[str, Any]:
    response = await http.post("/v1/workflows/check", json={"workflow": workflow, **more})
    assert response.status_code == 200, response.text
    return dict(response.json())


async def wallet(http: httpx2.AsyncClient) -> tuple[int, int]:
    found = (await http.get("/v1/wallet")).json()
    return found["available_micro"], found["held_micro"]


async def test_a_run_from_submit_to_its_steps(http: httpx2.AsyncClient, world: World) -> None:
    job = await start(http, ECHOED, {"word": "hi"})
    assert (job["kind"], job["price_micro"], job["input"]) == (
        "workflow",
        2 * TOOL_PRICE,
        {"word": "hi"},
    )
    assert job["workflow"]["billing"] == "outcome"
    done = await ended(http, job)
    assert (done["status"], done["final_output"]) == ("Success", {"output": "hi!"})
    assert done["charged_micro"] == 2 * TOOL_PRICE
    found = await steps(http, done)
    assert states(found) == {"first": "Success", "second": "Success"}
    assert found["second"]["output"] == {"said": "hi!"}
    assert found["second"]["ended_at"] >= found["second"]["started_at"]
    assert found[""]["definition"] == ECHOED
    graph = {node["node"]: node for node in found[""]["graph"]}
    assert graph["second"]["after"] == ["first"]
    assert graph["second"]["price_micro"] == TOOL_PRICE
    assert await wallet(http) == (CREDITS - 2 * TOOL_PRICE, 0)
    await assert_balanced(world.database)


async def test_every_mistake_is_told_and_nothing_held(http: httpx2.AsyncClient) -> None:
    wrong = flow(
        a={"tool": "words.say", "arguments": {"wort": "x"}},
        b=say("${{ steps.nope.output }}"),
        c={"tool": "words.sey"},
        d={"agent": {"template": "none"}},
    )
    names = {
        "/nodes/b/arguments/word": "unknown_reference",
        "/nodes/c/tool": "tool_unknown",
        "/nodes/d/agent/template": "template_unknown",
    }
    found = await check(http, wrong)
    assert not found["is_valid"]
    assert {one["pointer"]: one["code"] for one in found["mistakes"]} == names
    problem = assert_problem(
        await http.post("/v1/workflows/runs", json={"workflow": wrong}), 422, "invalid_input"
    )
    assert {one["pointer"] for one in problem["details"]["errors"]} == names.keys()
    # Once the names are right, what the nodes give to their tools is looked at.
    del wrong["nodes"]["b"], wrong["nodes"]["c"], wrong["nodes"]["d"]
    wrong["nodes"]["e"] = {"agent": {"template": "pick", "input": {"numbers": "1"}}}
    wrong["nodes"]["f"] = {"agent": {"task": "Think."}}
    found = await check(http, wrong)
    assert {(one["pointer"], one["code"]) for one in found["mistakes"]} == {
        ("/nodes/a/arguments", "missing_field"),
        ("/nodes/a/arguments/wort", "unknown_field"),
        ("/nodes/e/agent/input/numbers", "invalid_value"),
        ("/nodes/f/agent/task", "not_supported"),
    }
    assert found["mistake_count"] == 4
    assert (await http.get("/v1/jobs")).json()["jobs"] == []
    assert await wallet(http) == (CREDITS, 0)


async def test_a_check_says_the_price_and_what_the_input_must_be(http: httpx2.AsyncClient) -> None:
    each = {"map": {"over": "${{ input.words }}", "max_items": 20, "do": say("${{ item }}")}}
    del each["map"]["do"]["after"]  # type: ignore[attr-defined]
    schema = {
        "type": "object",
        "required": ["words"],
        "properties": {
            "words": {"type": "array", "items": {"type": "string"}},
            "record": {"type": "string", "format": "file"},
        },
    }
    workflow = {**flow(each=each, pick={"agent": {"template": "pick"}}), "input_schema": schema}
    workflow["nodes"]["pick"]["agent"]["input"] = {"numbers": [1]}
    found = await check(http, workflow)
    assert found["is_valid"]
    assert found["amount_micro"] == 20 * TOOL_PRICE + PICK_PRICE
    assert found["prices"] == [
        {"target": PICK, "price_micro": PICK_PRICE},
        {"target": SAY, "price_micro": TOOL_PRICE},
    ]
    assert found["input_schema"] == schema
    assert [node["node"] for node in found["graph"]] == ["each", "each[]", "pick"]
    known = await check(http, workflow, input={"words": ["a", "b", "c"]})
    assert known["amount_micro"] == 3 * TOOL_PRICE + PICK_PRICE
    bad = await check(http, workflow, input={"words": [1]})
    assert [one["pointer"] for one in bad["input_mistakes"]] == ["/words/0"]
    assert (bad["is_valid"], bad["amount_micro"]) == (False, None)
    nobody = {"words": [], "record": "018f2f6e-0000-7000-8000-000000000001"}
    bad = await check(http, workflow, input=nobody)
    assert [one["code"] for one in bad["input_mistakes"]] == ["not_found"]
    response = await http.post("/v1/workflows/runs", json={"workflow": workflow, "input": nobody})
    assert_problem(response, 404, "not_found")


async def test_the_hold_is_the_most_and_the_charge_what_ran(
    http: httpx2.AsyncClient, world: World
) -> None:
    way = {"branch": {"when": [{"if": "${{ input }}", "then": ["a", "b"]}], "else": ["a"]}}
    workflow = flow(way=way, a=say("a"), b=say("b"))
    job = await start(http, workflow, None)
    assert job["price_micro"] == 2 * TOOL_PRICE
    done = await ended(http, job)
    assert (done["status"], done["charged_micro"]) == ("Success", TOOL_PRICE)
    assert states(await steps(http, done)) == {"way": "Success", "a": "Success", "b": "Skipped"}
    assert await wallet(http) == (CREDITS - TOOL_PRICE, 0)
    await assert_balanced(world.database)


@pytest.mark.parametrize(("billing", "charged"), [("outcome", 0), ("usage", TOOL_PRICE)])
async def test_a_run_that_fails(
    http: httpx2.AsyncClient, world: World, billing: str, charged: int
) -> None:
    workflow = flow(a=say("a"), b=say("b", "a", tool="words.refuse"), c=say("c", "b"))
    done = await ran(http, workflow, billing=billing)
    assert (done["status"], done["charged_micro"]) == ("Failed", charged)
    assert done["error"]["code"] == "gene_not_found"
    assert done["error"]["details"]["step"] == "b"
    found = await steps(http, done)
    assert states(found) == {"a": "Success", "b": "Failed", "c": "NotRun"}
    assert found["b"]["error"]["code"] == "gene_not_found"
    assert await wallet(http) == (CREDITS - charged, 0)
    await assert_balanced(world.database)


async def test_an_agent_is_a_step(http: httpx2.AsyncClient, world: World) -> None:
    pick = {"agent": {"template": "pick", "input": {"numbers": "${{ input }}"}}}
    workflow = flow(pick=pick, tell=say("${{ steps.pick.output.number }} it is"))
    done = await ran(http, workflow, [50, 7])
    assert done["final_output"] == {"output": {"said": "7 it is"}}
    assert done["charged_micro"] == PICK_PRICE + TOOL_PRICE
    files = (await http.get(f"/v1/jobs/{done['job_id']}/files")).json()["files"]
    assert [file["name"] for file in files] == ["pick.n.txt"]
    found = await steps(http, done)
    assert found["pick"]["output"]["files"][0]["file_id"] == files[0]["file_id"]
    failed = await ran(http, workflow, [50])
    assert (failed["error"]["code"], failed["charged_micro"]) == ("no_guide", 0)
    await assert_balanced(world.database)


async def test_steps_on_their_way(http: httpx2.AsyncClient, world: World) -> None:
    job = await start(http, flow(a=say("a"), h=say("x", "a", tool="words.hang"), z=say("z", "h")))
    proxy = world.services.proxy
    assert isinstance(proxy, PlayedProxy)
    await proxy.is_hanging.wait()
    found = await steps(http, job)
    while found["h"]["state"] == "Pending":
        found = await steps(http, job)
    assert states(found) == {"a": "Success", "h": "Running", "z": "Pending"}
    assert found["h"]["started_at"] is not None
    await http.post(f"/v1/jobs/{job['job_id']}/cancel")
    done = await ended(http, job)
    assert done["status"] == "Cancelled"
    assert states(await steps(http, job)) == {"a": "Success", "h": "Stopped", "z": "NotRun"}
    await assert_balanced(world.database)


async def test_pages_of_steps(http: httpx2.AsyncClient) -> None:
    each = {
        "map": {
            "over": [3, 1, 2],
            "do": {"tool": "words.free", "arguments": {"word": "${{ to_string(item) }}"}},
        }
    }
    done = await ran(http, flow(each=each, z=say("z", "each")))
    first = await steps(http, done, limit=2)
    assert list(first)[1:] == ["each", "each[0]"]
    assert first["each"]["state"] == "Success"
    rest = await steps(http, done, after=first[""]["next"], outputs="false")
    assert list(rest)[1:] == ["each[1]", "each[2]", "z"]
    assert rest["each[1]"]["output"] is None
    response = await http.get(f"/v1/jobs/{done['job_id']}/steps?after=nope")
    assert_problem(response, 422, "invalid_input")
    task = (
        await http.post("/v1/jobs", json={"tool": "words.free", "arguments": {"word": "x"}})
    ).json()
    assert_problem(await http.get(f"/v1/jobs/{task['job_id']}/steps"), 409, "conflict")


async def test_pages_follow_the_graph_through_maps(http: httpx2.AsyncClient, world: World) -> None:
    one = {"tool": "words.free", "arguments": {"word": "${{ to_string(index) }}"}}
    body = {"nodes": {"y": one, "x": {**one, "after": ["y"]}}}
    many = {"over": list(range(11)), "max_items": 900, "do": body}
    within = {"over": "${{ item }}", "do": one}
    empty = {"map": {"over": [], "do": one}}
    workflow = flow(
        z=empty,
        many={"map": many},
        a={"map": {"over": [[1], [], [1, 2]], "max_items": 9, "do": {"map": within}}},
    )
    done = await ran(http, workflow)
    assert done["status"] == "Success", done["error"]
    items = [path for at in range(11) for path in (f"many[{at}]", f"many[{at}].y", f"many[{at}].x")]
    inner = ["a", "a[0][0]", "a[2][0]", "a[2][1]"]
    whole = [path for path in await steps(http, done, limit=1000) if path]
    assert [path for path in whole if path.startswith("many")] == ["many", *items]
    assert [path for path in whole if path.startswith("a")] == inner
    paged: list[str] = []
    query: dict[str, Any] = {"limit": 7}
    while True:
        found = await steps(http, done, **query)
        assert set(states(found).values()) == {"Success"}
        paged += [path for path in found if path]
        if found[""]["next"] is None:
            break
        query["after"] = found[""]["next"]
    assert paged == whole
    async with world.database.begin(SERVICE) as uow:
        rows = await uow.execute("select count(*) from app.job_steps")
        assert rows.scalar_one() >= len(items)


async def test_one_key_is_one_run_whatever_prices_become(
    http: httpx2.AsyncClient, world: World
) -> None:
    body = {"workflow": ECHOED, "input": {"word": "a"}}
    key = {"idempotency-key": "k"}
    first = await http.post("/v1/workflows/runs", json=body, headers=key)
    async with world.database.begin(SERVICE) as uow:
        await world.services.billing.publish_price(uow, "tool", "words.say", 3 * TOOL_PRICE)
        await world.services.registry.refresh(uow)
    again = await http.post("/v1/workflows/runs", json=body, headers=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["job_id"] == again.json()["job_id"]
    other = {**body, "input": {"word": "b"}}
    response = await http.post("/v1/workflows/runs", json=other, headers=key)
    assert_problem(response, 409, "idempotency_mismatch")
    await assert_balanced(world.database)


async def test_who_may_not(http: httpx2.AsyncClient, world: World) -> None:
    body = {"workflow": ECHOED, "input": {"word": "a"}}
    poor = await person(world.services, "poor@example.org", granted=2 * TOOL_PRICE - 1)
    response = await http.post("/v1/workflows/runs", json=body, headers=dict(poor.headers))
    assert_problem(response, 402, "insufficient_credits")
    for scope in (Scope.JOBS, Scope.TOOLS):
        narrow = await person(world.services, f"{scope}@example.org", frozenset({scope}))
        response = await http.post("/v1/workflows/runs", json=body, headers=dict(narrow.headers))
        assert_problem(response, 403, "forbidden")
    job = await ran(http, ECHOED, {"word": "a"})
    bob = dict(world.bob.headers)
    for method, path, json in (
        ("GET", "steps", None),
        ("POST", "replay", {"from_step": "first"}),
        ("POST", "fork", {"input": 1}),
    ):
        response = await http.request(
            method, f"/v1/jobs/{job['job_id']}/{path}", json=json, headers=bob
        )
        assert_problem(response, 404, "not_found")


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, "/workflow"),
        ({"workflow": 5}, "/workflow"),
        ({"workflow": {"workflow": 1, "nodes": 5}}, "/nodes"),
        ({"workflow": {"workflow": 1, "nodes": {f"n{at}": {} for at in range(60)}}}, "/nodes"),
        ({"workflow": ECHOED, "version": 1}, "/version"),
        ({"workflow": ECHOED, "billing": "free"}, "/billing"),
        ({"workflow": ECHOED, "priority": 3}, "/priority"),
        ({"workflow": ECHOED, "run_at": "2999-01-01T00:00:00Z"}, "/run_at"),
    ],
)
async def test_bodies_that_do_not_fit(
    http: httpx2.AsyncClient, body: dict[str, Any], where: str
) -> None:
    response = await http.post("/v1/workflows/runs", json=body)
    problem = assert_problem(response, 422, "invalid_input")
    assert problem["details"]["pointer"].startswith(where)


async def test_the_schema_is_published(http: httpx2.AsyncClient) -> None:
    schema = (await http.get("/v1/workflows/schema")).json()
    assert schema["title"] == "Workflow definition, version 1"
    paths = (await http.get("/v1/openapi.json")).json()["paths"]
    assert "/v1/workflows/runs" in paths
