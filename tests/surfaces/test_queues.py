"""Dead letters and the queue through both doors."""

from typing import Any
from uuid import uuid4

import httpx2
import pytest

from app.kernel.principal import SERVICE, USER_SCOPES, Scope
from tests.books import assert_balanced
from tests.surfaces.test_http_errors import assert_problem
from tests.surfaces.test_http_jobs import ended
from tests.surfaces.test_mcp import Era, call, connected, era, refused
from tests.surfaces.world import TOOL_PRICE, Person, World, person

__all__ = ["era"]
pytestmark = pytest.mark.anyio


async def operator(world: World) -> Person:
    scopes = frozenset({*USER_SCOPES, Scope.ADMIN})
    return await person(world.services, "operator@example.org", scopes)


async def dead(http: httpx2.AsyncClient, count: int = 1) -> list[str]:
    """Tool jobs whose server was down at every attempt."""
    jobs = [{"tool": "words.break", "arguments": {"word": str(n)}} for n in range(count)]
    made = (await http.post("/v1/jobs:batch", json={"jobs": jobs})).json()["results"]
    assert {(await ended(http, job))["status"] for job in made} == {"Dead"}
    return [job["job_id"] for job in made]


async def page(http: httpx2.AsyncClient, **query: Any) -> dict[str, Any]:
    response = await http.get("/v1/dead-letters", params=query)
    assert response.status_code == 200, response.text
    return dict(response.json())


async def test_dead_letters_over_http(http: httpx2.AsyncClient, world: World) -> None:
    first, second, third = await dead(http, 3)
    shown = await page(http, limit=2)
    assert [one["job_id"] for one in shown["dead_letters"]] == [third, second]
    assert shown["causes"] == [{"cause": "tool_server_down", "kind": "tool", "count": 3}]
    rest = await page(http, before=shown["next"], cause="tool_server_down", kind="tool")
    assert [one["job_id"] for one in rest["dead_letters"]] == [first]
    assert (await page(http, cause="internal"))["dead_letters"] == []
    path = f"/v1/dead-letters/{first}/redrive"
    done = (await http.post(path)).json()
    assert (await http.post(path)).json() == done
    assert (await ended(http, {"job_id": done["redriven_as"]}))["status"] == "Dead"
    # The new job is a dead letter of its own now.
    assert len((await page(http, open=True))["dead_letters"]) == 3
    batch = (await http.post("/v1/dead-letters:redrive", json={"limit": 2})).json()
    assert [one["job_id"] for one in batch["results"]] == [second, third]
    assert batch["next"] == third
    more = {"cause": "tool_server_down", "kind": "tool", "after": third}
    last = (await http.post("/v1/dead-letters:redrive", json=more)).json()
    assert [one["job_id"] for one in last["results"]] == [done["redriven_as"]]
    for one in batch["results"] + last["results"]:
        await ended(http, {"job_id": one["redriven_as"]})
    await assert_balanced(world.database)


async def test_what_is_not_redriven(http: httpx2.AsyncClient, world: World) -> None:
    (job,) = await dead(http)
    path = f"/v1/dead-letters/{job}/redrive"
    other = dict(world.bob.headers)
    assert_problem(await http.post(path, headers=other), 404, "not_found")
    assert (await http.get("/v1/dead-letters", headers=other)).json()["dead_letters"] == []
    assert_problem(await http.post(f"/v1/dead-letters/{uuid4()}/redrive"), 404, "not_found")
    for wrong in ({"limit": 501}, {"limit": 0}, {"after": "x"}, {"cause": ""}):
        response = await http.post("/v1/dead-letters:redrive", json=wrong)
        assert_problem(response, 422, "invalid_input")
    async with world.database.begin(SERVICE) as uow:
        await uow.execute(
            "update app.processing_jobs set price_micro = 100000000000 where job_id = :job",
            {"job": job},
        )
    assert_problem(await http.post(path), 402, "insufficient_credits")
    batch = (await http.post("/v1/dead-letters:redrive", json={})).json()
    assert [one["error"]["code"] for one in batch["results"]] == ["insufficient_credits"]
    assert (await http.get("/v1/wallet")).json()["held_micro"] == 0


async def test_a_queue_is_the_operators(http: httpx2.AsyncClient, world: World) -> None:
    for method, path in (
        ("GET", "/v1/queues"),
        ("POST", "/v1/queues/tool/pause"),
        ("POST", "/v1/queues/tool/resume"),
    ):
        body = {} if path.endswith("pause") else None
        assert_problem(await http.request(method, path, json=body), 403, "forbidden")
    admin = dict((await operator(world)).headers)
    paused = await http.post("/v1/queues/tool/pause", json={"reason": "mending"}, headers=admin)
    assert (paused.json()["is_paused"], paused.json()["reason"]) == (True, "mending")
    job = await http.post("/v1/jobs", json={"tool": "words.say", "arguments": {"word": "hi"}})
    shown = (await http.get("/v1/queues", headers=admin)).json()
    tool = next(one for one in shown["queues"] if one["kind"] == "tool")
    assert (tool["ready"], tool["running"], tool["is_paused"]) == (1, 0, True)
    resumed = await http.post("/v1/queues/tool/resume", headers=admin)
    assert not resumed.json()["is_paused"]
    assert (await ended(http, job.json()))["charged_micro"] == TOOL_PRICE
    unknown = await http.post("/v1/queues/toll/pause", json={}, headers=admin)
    assert_problem(unknown, 404, "not_found")


async def test_dead_letters_and_queues_over_mcp(
    url: str, http: httpx2.AsyncClient, world: World, era: Era
) -> None:
    (job,) = await dead(http)
    async with connected(url, world.alice, era) as client:
        listed = await call(client, "dead_letters.list", open=True)
        assert [one["job_id"] for one in listed["dead_letters"]] == [job]
        (one,) = (await call(client, "dead_letters.redrive", job_id=job))["results"]
        assert one["redriven_as"] is not None
        both = await refused(client, "dead_letters.redrive", job_id=job, kind="tool")
        assert both["code"] == "invalid_input"
        await ended(http, {"job_id": one["redriven_as"]})
        (again,) = (await call(client, "dead_letters.redrive"))["results"]
        await ended(http, {"job_id": again["redriven_as"]})
        assert (await refused(client, "queues.list"))["code"] == "forbidden"
    async with connected(url, await operator(world), era) as client:
        assert (await call(client, "queues.pause", kind="task", reason="x"))["is_paused"]
        assert not (await call(client, "queues.resume", kind="task"))["is_paused"]
        kinds = [one["kind"] for one in (await call(client, "queues.list"))["queues"]]
        assert {"task", "tool", "workflow"} <= set(kinds)


async def test_the_terms_of_a_job(http: httpx2.AsyncClient, world: World) -> None:
    made = await http.post("/v1/webhooks", json={"url": "https://hooks.example.org/"})
    webhook = made.json()["webhook_id"]
    say = {"tool": "words.say", "arguments": {"word": "hi"}}
    later = say | {"run_at": "2099-01-01T00:00:00Z"}
    problem = assert_problem(await http.post("/v1/jobs", json=later), 422, "invalid_input")
    assert problem["details"]["pointer"] == "/run_at"
    for wrong in (
        {"run_at": "2026-01-01T00:00:00"},
        {"run_at": 5},
        {"run_at": "1700000000"},
        {"run_at": "0001-01-01T00:00:00Z"},
        {"limit_key": ""},
        {"limit_key": "a" * 129},
        {"webhook": "x"},
        {"priority": -3},
    ):
        response = await http.post("/v1/jobs", json=say | wrong)
        assert_problem(response, 422, "invalid_input")
        batch = await http.post("/v1/jobs:batch", json={"jobs": [say | wrong]})
        assert batch.json()["results"][0]["error"]["code"] == "invalid_input"
    past = {"run_at": "2020-01-01T00:00:00+02:00"}
    for body in (say | past, {"template": "echo", "input": {"text": "a"}, **past}):
        done = await ended(http, (await http.post("/v1/jobs", json=body)).json())
        assert done["status"] == "Success"
    async with world.database.begin(SERVICE) as uow:
        soon = (await uow.execute("select now() + interval '1 hour'")).scalar_one().isoformat()
    terms = {"run_at": soon, "webhook": webhook, "priority": -2}
    batched = await http.post("/v1/jobs:batch", json={"jobs": [say | terms]})
    single = await http.post("/v1/jobs", json={"template": "echo", "input": {"text": "a"}} | terms)
    assert "error" not in batched.json()["results"][0]
    assert single.status_code == 201
    async with world.database.begin(SERVICE) as uow:
        rows = await uow.execute("select place, run_at, webhook_id, priority from app.job_queue")
        found = [(r.place, r.run_at.isoformat(), str(r.webhook_id), r.priority) for r in rows]
    assert len(found) == 2
    assert {place for place, *_ in found} == {None}
    assert {(hook, priority) for *_, hook, priority in found} == {(webhook, -2)}
    await assert_balanced(world.database)


async def test_a_key_stands_for_the_start_as_well(http: httpx2.AsyncClient) -> None:
    say = {"tool": "words.say", "arguments": {"word": "hi"}, "run_at": "2020-01-01T00:00:00Z"}
    key = {"idempotency-key": "a"}
    first = await http.post("/v1/jobs", json=say, headers=key)
    again = await http.post("/v1/jobs", json=say, headers=key)
    assert (first.status_code, again.status_code) == (201, 200)
    made = await http.post("/v1/webhooks", json={"url": "https://hooks.example.org/"})
    hook = {"webhook": made.json()["webhook_id"]}
    for other in ({"run_at": "2020-01-02T00:00:00Z"}, {"priority": 1}, hook):
        response = await http.post("/v1/jobs", json=say | other, headers=key)
        assert_problem(response, 409, "idempotency_mismatch")
