"""Workflows through the doors of jobs and schedules, and requests that say a thing twice."""

import json
from typing import Any

import httpx2
import pytest

from tests.books import assert_balanced
from tests.surfaces.flows import ECHOED, flow, ran, say, states, steps
from tests.surfaces.test_http_errors import assert_problem
from tests.surfaces.test_http_jobs import ended
from tests.surfaces.test_mcp import Era, call, connected, era, refused
from tests.surfaces.test_schedules import create, fire, hourly
from tests.surfaces.world import TOOL_PRICE, World

__all__ = ["era"]
pytestmark = pytest.mark.anyio


async def save(http: httpx2.AsyncClient, name: str, definition: Any) -> None:
    url = f"/v1/workflows/definitions/{name}"
    assert (await http.put(url, json={"definition": definition})).status_code == 201


async def test_a_job_may_be_a_workflow(http: httpx2.AsyncClient, world: World) -> None:
    asked = {"workflow": ECHOED, "input": {"word": "hi"}, "priority": 1}
    response = await http.post("/v1/jobs", json=asked, headers={"idempotency-key": "k"})
    assert response.status_code == 201, response.text
    job = response.json()
    assert (job["kind"], job["price_micro"]) == ("workflow", 2 * TOOL_PRICE)
    done = await ended(http, job)
    assert (done["final_output"], done["charged_micro"]) == ({"output": "hi!"}, 2 * TOOL_PRICE)
    # The same request through the workflows' own door is the same job.
    again = await http.post("/v1/workflows/runs", json=asked, headers={"idempotency-key": "k"})
    assert (again.status_code, again.json()["job_id"]) == (200, job["job_id"])
    await save(http, "echo", ECHOED)
    await save(http, "echo", flow(a=say("newer")))
    old = {"workflow": "echo", "version": 1, "input": {"word": "x"}, "billing": "usage"}
    named = (await http.post("/v1/jobs", json=old)).json()
    assert named["workflow"]["saved"] == {"name": "echo", "version": 1}
    assert named["workflow"]["billing"] == "usage"
    assert (await ended(http, named))["final_output"] == {"output": "x!"}
    await assert_balanced(world.database)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, ""),
        ({"workflow": ECHOED, "tool": "words.say"}, ""),
        ({"workflow": ECHOED, "template": "echo", "input": {}}, ""),
        ({"workflow": ECHOED, "arguments": {}}, "/arguments"),
        ({"workflow": ECHOED, "version": 1}, "/version"),
        ({"tool": "words.say", "version": 1}, "/version"),
        ({"workflow": ECHOED, "billing": "usage", "max_credits": "1"}, "/max_credits"),
        ({"workflow": ECHOED, "max_credits": "1"}, "/max_credits"),
        ({"workflow": {"workflow": 1, "nodes": 5}}, "/nodes"),
        ({"template": "echo", "input": [1]}, "/input"),
        ({"tool": "words.say", "input": 1}, "/input"),
    ],
)
async def test_jobs_that_do_not_fit(
    http: httpx2.AsyncClient, body: dict[str, Any], where: str
) -> None:
    problem = assert_problem(await http.post("/v1/jobs", json=body), 422, "invalid_input")
    assert problem["details"]["pointer"] == where
    assert (await http.get("/v1/wallet")).json()["held_micro"] == 0


async def test_a_schedule_runs_a_definition(http: httpx2.AsyncClient, world: World) -> None:
    made = await create(http, {**hourly(), "workflow": ECHOED, "input": {"word": "hi"}})
    assert (made["workflow"], made["input"], made["tool"]) == (ECHOED, {"word": "hi"}, None)
    await fire(world, made)
    shown = (await http.get(f"/v1/schedules/{made['schedule_id']}")).json()
    done = await ended(http, {"job_id": shown["last_job_id"]})
    assert (done["final_output"], done["charged_micro"]) == ({"output": "hi!"}, 2 * TOOL_PRICE)
    assert states(await steps(http, done)) == {"first": "Success", "second": "Success"}
    await assert_balanced(world.database)


async def test_a_schedule_runs_the_newest_or_a_version(
    http: httpx2.AsyncClient, world: World
) -> None:
    await save(http, "mine", flow(a=say("one")))
    newest = await create(http, {**hourly(), "workflow": "mine"})
    await save(http, "mine", flow(a=say("two"), b=say("three", "a")))
    await fire(world, newest)
    path = f"/v1/schedules/{newest['schedule_id']}"
    done = await ended(http, {"job_id": (await http.get(path)).json()["last_job_id"]})
    # What it holds is what the definition of that moment can cost.
    assert (done["workflow"]["saved"]["version"], done["price_micro"]) == (2, 2 * TOOL_PRICE)
    body = {**hourly(), "workflow": "mine", "version": 1}
    fixed = (await http.put(path, json=body)).json()
    assert fixed["version"] == 1
    await http.delete("/v1/workflows/definitions/mine")
    await fire(world, fixed)
    gone = (await http.get(path)).json()
    assert gone["last_error"]["code"] == "not_found"
    assert gone["last_job_id"] == done["job_id"]
    for wrong, status, code in (
        ({"workflow": "mine"}, 404, "not_found"),
        ({"workflow": flow(a={"tool": "words.sey"})}, 422, "invalid_input"),
        ({"workflow": ECHOED, "tool": "words.say"}, 422, "invalid_input"),
    ):
        response = await http.post("/v1/schedules", json={**hourly(), "name": "no", **wrong})
        assert_problem(response, status, code)
    await assert_balanced(world.database)


async def test_a_schedule_over_mcp(url: str, world: World, era: Era) -> None:
    async with connected(url, world.alice, era) as client:
        asked = {**hourly(), "workflow": ECHOED, "input": {"word": "a"}}
        made = await call(client, "schedules.create", **asked)
        assert (made["workflow"], made["input"]) == (ECHOED, {"word": "a"})
        wrong = flow(a={"tool": "words.sey"})
        bad = await refused(client, "schedules.create", **{**asked, "workflow": wrong})
        assert bad["details"]["errors"][0]["code"] == "tool_unknown"


DOUBLED = '{"workflow": 1, "nodes": {"a": {"tool": "words.free"}, "a": {"tool": "words.say"}}}'


async def post(
    http: httpx2.AsyncClient, path: str, text: str, method: str = "POST"
) -> httpx2.Response:
    head = {"content-type": "application/json"}
    return await http.request(method, path, content=text.encode(), headers=head)


async def test_what_can_be_read_in_two_ways_does_not_run(
    http: httpx2.AsyncClient, world: World
) -> None:
    run = f'{{"workflow": {DOUBLED}}}'
    for path, text, method in (
        ("/v1/workflows/runs", run, "POST"),
        ("/v1/jobs", run, "POST"),
        ("/v1/schedules", f'{{"name": "n", "cron": "0 * * * *", "workflow": {DOUBLED}}}', "POST"),
        ("/v1/workflows/definitions/mine", f'{{"definition": {DOUBLED}}}', "PUT"),
        ("/v1/jobs/00000000-0000-0000-0000-000000000000/fork", run, "POST"),
    ):
        problem = assert_problem(await post(http, path, text, method), 422, "invalid_input")
        (mistake,) = problem["details"]["errors"]
        assert (mistake["pointer"], mistake["code"]) == ("/nodes", "duplicate_name")
        assert "'a'" in mistake["message"]
    checked = (await post(http, "/v1/workflows/check", run)).json()
    assert not checked["is_valid"]
    assert [one["code"] for one in checked["mistakes"]] == ["duplicate_name"]
    # A field beside the definition that stands twice leaves open what is meant too.
    good = json.dumps(ECHOED)
    for text, where in (
        (f'{{"workflow": {DOUBLED}, "workflow": {good}}}', ""),
        (f'{{"workflow": {good}, "input": {{"word": "a", "word": "b"}}}}', "/input"),
    ):
        for path in ("/v1/workflows/runs", "/v1/workflows/check"):
            problem = assert_problem(await post(http, path, text), 422, "invalid_input")
            assert problem["details"]["pointer"] == where
    assert (await http.get("/v1/jobs")).json()["jobs"] == []
    assert (await post(http, "/v1/workflows/runs", f'{{"workflow": {good}}}')).status_code == 201
    await assert_balanced(world.database)


async def test_a_definition_sent_as_the_body_itself(http: httpx2.AsyncClient) -> None:
    titled = {**ECHOED, "title": "Echo"}
    for path in ("/v1/workflows/runs", "/v1/workflows/check", "/v1/jobs"):
        problem = assert_problem(await http.post(path, json=titled), 422, "invalid_input")
        assert problem["details"]["pointer"] == "/workflow"
        assert "field `workflow`" in problem["hint"]
    response = await http.put("/v1/workflows/definitions/mine", json=titled)
    problem = assert_problem(response, 422, "invalid_input")
    assert problem["details"]["pointer"] == "/definition"
    job = await ran(http, ECHOED, {"word": "a"})
    body = {"input": 1, "version": 2}
    response = await http.post(f"/v1/jobs/{job['job_id']}/fork", json=body)
    assert assert_problem(response, 422, "invalid_input")["details"]["pointer"] == "/version"


async def test_who_is_not_known_is_told_that_first(http: httpx2.AsyncClient) -> None:
    head = {"content-type": "application/json", "authorization": "Bearer uaol_wrong"}
    body = f'{{"workflow": {DOUBLED}}}'.encode()
    response = await http.post("/v1/workflows/runs", content=body, headers=head)
    assert_problem(response, 401, "unauthenticated")
