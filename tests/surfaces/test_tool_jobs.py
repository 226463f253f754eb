"""Jobs of one tool call: submitted singly or in batches, each standing for itself."""

from typing import Any

import httpx2
import pytest

from app.kernel.principal import SERVICE, Scope
from app.registry import ServerConfig, ToolDefinition
from tests.books import assert_balanced
from tests.surfaces.conftest import PlayedProxy
from tests.surfaces.test_http_errors import JSON, assert_problem
from tests.surfaces.test_http_jobs import ended
from tests.surfaces.test_mcp import Era, call, connected, era, refused
from tests.surfaces.world import CREDITS, TOOL_PRICE, World, person

__all__ = ["era"]
pytestmark = pytest.mark.anyio


def say(word: Any = "hi", **more: Any) -> dict[str, Any]:
    return {"tool": "words.say", "arguments": {"word": word}, **more}


async def batch(http: httpx2.AsyncClient, *jobs: Any, **headers: str) -> list[dict[str, Any]]:
    response = await http.post("/v1/jobs:batch", json={"jobs": list(jobs)}, headers=headers)
    assert response.status_code == 200, response.text
    return list(response.json()["results"])


def codes(results: list[dict[str, Any]]) -> list[str | None]:
    return [result["error"]["code"] if "error" in result else None for result in results]


async def listed(http: httpx2.AsyncClient, **query: Any) -> list[dict[str, Any]]:
    response = await http.get("/v1/jobs", params=query)
    assert response.status_code == 200, response.text
    return list(response.json()["jobs"])


async def test_a_tool_job_from_submit_to_answer(http: httpx2.AsyncClient, world: World) -> None:
    response = await http.post("/v1/jobs", json=say() | {"tool": "words_say"})
    assert response.status_code == 201
    job = response.json()
    assert response.headers["location"] == f"/v1/jobs/{job['job_id']}"
    assert (job["kind"], job["tool"], job["arguments"]) == ("tool", "words.say", {"word": "hi"})
    assert (job["template"], job["price_micro"]) == (None, TOOL_PRICE)
    done = await ended(http, job)
    assert (done["status"], done["final_output"]) == ("Success", {"said": "hi"})
    assert done["charged_micro"] == TOOL_PRICE
    proxy = world.services.proxy
    assert isinstance(proxy, PlayedProxy)
    assert [call.idempotency_key for call in proxy.calls] == [job["job_id"]]
    await assert_balanced(world.database)


async def test_a_job_is_one_thing_or_the_other(http: httpx2.AsyncClient) -> None:
    for body, where in (
        ({}, ""),
        (say(template="echo", input={"text": "a"}), ""),
        ({"template": "echo"}, "/input"),
        (say(input={}), "/input"),
        ({"template": "echo", "input": {"text": "a"}, "arguments": {}}, "/arguments"),
        (say(priority=3), "/priority"),
    ):
        problem = assert_problem(await http.post("/v1/jobs", json=body), 422, "invalid_input")
        assert problem["details"]["pointer"] == where


async def test_what_is_refused_is_no_job(http: httpx2.AsyncClient, world: World) -> None:
    for body, status, code in (
        ({"tool": "words.sey", "arguments": {}}, 404, "tool_unknown"),
        ({"tool": "words.say"}, 422, "invalid_input"),
        (say(5), 422, "invalid_input"),
        (say() | {"arguments": {"word": "a", "colour": "red"}}, 422, "unknown_field"),
    ):
        assert_problem(await http.post("/v1/jobs", json=body), status, code)
    poor = await person(world.services, "poor@example.org", granted=TOOL_PRICE - 1)
    response = await http.post("/v1/jobs", json=say(), headers=dict(poor.headers))
    assert_problem(response, 402, "insufficient_credits")
    assert await listed(http) == []
    assert (await http.get("/v1/wallet")).json()["held_micro"] == 0


async def test_one_key_is_one_job(http: httpx2.AsyncClient) -> None:
    key = {"idempotency-key": "abc"}
    first = await http.post("/v1/jobs", json=say(), headers=key)
    again = await http.post("/v1/jobs", json=say() | {"tool": "words_say"}, headers=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["job_id"] == again.json()["job_id"]
    other = await http.post("/v1/jobs", json=say("ho"), headers=key)
    assert_problem(other, 409, "idempotency_mismatch")
    (result,) = await batch(http, say(idempotency_key="abc"))
    assert (result["job_id"], result["is_new"]) == (first.json()["job_id"], False)


async def test_in_a_batch_each_stands_for_itself(http: httpx2.AsyncClient, world: World) -> None:
    results = await batch(
        http,
        say("a", priority=2),
        {"tool": "no.such", "arguments": {}},
        say(5),
        {"arguments": {}},
        "words.say",
        say(path=1),
        say("b\x00"),
        {"tool": "words.refuse", "arguments": {"word": "c"}},
        say("d", idempotency_key="k"),
        say("d", idempotency_key="k"),
        say("e", idempotency_key="k"),
    )
    assert codes(results) == [
        None,
        "tool_unknown",
        "invalid_input",
        "invalid_input",
        "invalid_input",
        "unknown_field",
        "invalid_input",
        None,
        None,
        None,
        "idempotency_mismatch",
    ]
    pointers = [result["error"]["details"].get("pointer") for result in results[2:7]]
    assert pointers == ["/word", "/tool", "", "/path", "/arguments/word"]
    assert results[8]["job_id"] == results[9]["job_id"]
    assert [results[at]["is_new"] for at in (0, 7, 8, 9)] == [True, True, True, False]
    assert len(await listed(http)) == 3
    ends = [(await ended(http, results[at]))["status"] for at in (0, 7, 8)]
    assert ends == ["Success", "Failed", "Success"]
    wallet = (await http.get("/v1/wallet")).json()
    assert (wallet["captured_micro"], wallet["held_micro"]) == (2 * TOOL_PRICE, 0)
    await assert_balanced(world.database)


async def test_credits_for_some_of_a_batch(http: httpx2.AsyncClient, world: World) -> None:
    poor = await person(world.services, "poor@example.org", granted=2 * TOOL_PRICE)
    free = {"tool": "words.free", "arguments": {"word": "x"}}
    results = await batch(http, say(), say(), say(), free, **poor.headers)
    assert codes(results) == [None, None, "insufficient_credits", None]
    assert results[2]["error"]["details"]["needed_micro"] == TOOL_PRICE
    await assert_balanced(world.database)


async def test_the_size_of_a_batch(http: httpx2.AsyncClient, world: World) -> None:
    free = {"tool": "words.free", "arguments": {"word": "x"}}
    results = await batch(http, *[free] * 1000)
    assert len({result["job_id"] for result in results}) == 1000
    assert await batch(http) == []
    response = await http.post("/v1/jobs:batch", json={"jobs": [free] * 1001})
    problem = assert_problem(response, 422, "invalid_input")
    assert problem["details"]["pointer"] == "/jobs"
    response = await http.post("/v1/jobs:batch", json={"jobs": [say("x" * 1000)] * 80})
    assert_problem(response, 413, "payload_too_large")


async def test_batches_that_are_none(http: httpx2.AsyncClient) -> None:
    for content, code in (
        (b"{}", "invalid_input"),
        (b"[]", "invalid_input"),
        (b'{"jobs":{}}', "invalid_input"),
        (b'{"jobs":[],"\\ud800":1}', "invalid_input"),
        (b'{"jobs":[],"dry":true}', "unknown_field"),
    ):
        response = await http.post("/v1/jobs:batch", content=content, headers=JSON)
        assert_problem(response, 422, code)
    key = {"idempotency-key": "abc"}
    response = await http.post("/v1/jobs:batch", json={"jobs": [say()]}, headers=key)
    assert_problem(response, 422, "invalid_input")
    assert await listed(http) == []


async def test_prices_are_looked_up_once_until_the_tools_change(
    http: httpx2.AsyncClient, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    billing, registry, asked = world.services.billing, world.services.registry, []
    quote = billing.quote

    async def counted(uow: Any, kind: Any, name: str) -> Any:
        asked.append(name)
        return await quote(uow, kind, name)

    monkeypatch.setattr(billing, "quote", counted)
    await batch(http, say(), say(), {"tool": "words_say", "arguments": {"word": "x"}})
    await batch(http, say())
    assert asked == ["words.say"]
    more = ServerConfig(name="more", command=("more",))
    async with world.database.begin(SERVICE) as uow:
        await registry.pin(uow, more, [ToolDefinition("more", "new", "New.", {"type": "object"})])
        await billing.publish_price(uow, "tool", "words.say", 3 * TOOL_PRICE)
        await registry.refresh(uow)
    results = await batch(http, say(), {"tool": "more.new"})
    assert codes(results) == [None, "price_unknown"]
    shown = (await http.get(f"/v1/jobs/{results[0]['job_id']}")).json()
    assert shown["price_micro"] == 3 * TOOL_PRICE


async def test_another_tenant_sees_nothing(http: httpx2.AsyncClient, world: World) -> None:
    bob = dict(world.bob.headers)
    (mine,) = await batch(http, say("mine", idempotency_key="same"))
    (theirs,) = await batch(http, say("theirs", idempotency_key="same"), **bob)
    assert theirs["is_new"]
    assert mine["job_id"] != theirs["job_id"]
    response = await http.get(f"/v1/jobs/{mine['job_id']}", headers=bob)
    assert_problem(response, 404, "not_found")
    proxy = world.services.proxy
    assert isinstance(proxy, PlayedProxy)
    await ended(http, mine)
    owners = {call.job_id: call.principal.user_id for call in proxy.calls}
    assert world.alice.user_id in owners.values()
    assert (await http.get("/v1/jobs?kind=tool", headers=bob)).json()["jobs"][0]["arguments"] == {
        "word": "theirs"
    }


@pytest.mark.parametrize("scope", [Scope.JOBS, Scope.TOOLS])
async def test_a_key_needs_both_scopes(
    http: httpx2.AsyncClient, world: World, scope: Scope
) -> None:
    narrow = dict((await person(world.services, "n@example.org", frozenset({scope}))).headers)
    response = await http.post("/v1/jobs", json=say(), headers=narrow)
    assert_problem(response, 403, "forbidden")
    response = await http.post("/v1/jobs:batch", json={"jobs": [say()]}, headers=narrow)
    assert_problem(response, 403, "forbidden")


async def test_the_list_is_filtered(http: httpx2.AsyncClient) -> None:
    task = {"template": "echo", "input": {"text": "wait"}}
    waiting = (await http.post("/v1/jobs", json=task)).json()
    said = (await http.post("/v1/jobs", json=say())).json()
    (no,) = await batch(http, {"tool": "words.refuse", "arguments": {"word": "x"}})
    for job in (said, no):
        await ended(http, job)

    async def ids(**query: Any) -> list[str]:
        return [job["job_id"] for job in await listed(http, **query)]

    assert await ids(kind="tool") == [no["job_id"], said["job_id"]]
    assert await ids(kind="tool", limit=1, before=no["job_id"]) == [said["job_id"]]
    assert await ids(kind="task") == [waiting["job_id"]]
    assert await ids(status="Failed") == [no["job_id"]]
    assert await ids(status="Success", kind="task") == []
    assert await ids(since=said["start_time"]) == [no["job_id"], said["job_id"]]
    assert await ids(since="2999-01-01T00:00:00Z") == []
    for wrong in ("status=Done", "since=2999-01-01T00:00:00", "since=today", "kind=a%00"):
        assert_problem(await http.get(f"/v1/jobs?{wrong}"), 422, "invalid_input")


async def test_what_is_published(http: httpx2.AsyncClient) -> None:
    document = (await http.get("/v1/openapi.json")).json()
    path = document["paths"]["/v1/jobs:batch"]["post"]
    body = path["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    jobs = document["components"]["schemas"][body.split("/")[-1]]["properties"]["jobs"]
    assert jobs["maxItems"] == 1000
    assert jobs["items"]["required"] == ["tool"]
    assert set(jobs["items"]["properties"]) == {
        "tool",
        "arguments",
        "idempotency_key",
        "priority",
        "run_at",
        "limit_key",
        "webhook",
    }
    answer = path["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    assert answer.endswith("/BatchOut")
    query = {one["name"] for one in document["paths"]["/v1/jobs"]["get"]["parameters"]}
    assert query == {"limit", "before", "status", "kind", "since"}


async def test_over_mcp(url: str, world: World, era: Era) -> None:
    async with connected(url, world.alice, era) as client:
        jobs = [say("a"), say(5), {"tool": "no.such"}, say("b", idempotency_key="k")]
        results = (await call(client, "jobs.submit", jobs=jobs))["results"]
        assert codes(results) == [None, "invalid_input", "tool_unknown", None]
        again = (await call(client, "jobs_submit", jobs=jobs[3:]))["results"]
        assert again[0]["job_id"] == results[3]["job_id"]
        trace = await call(client, "bio_agent.stream_trace", job_id=results[0]["job_id"])
        assert trace["events"][-1]["kind"] == "job.succeeded"
        assert (await refused(client, "jobs.submit", jobs=[say()] * 1001))["code"] in {
            "invalid_input",
            "payload_too_large",
        }
        assert (await refused(client, "jobs.submit", job=say()))["code"] == "unknown_field"
    narrow = await person(world.services, "n@example.org", frozenset({Scope.JOBS}))
    async with connected(url, narrow, era) as client:
        assert (await refused(client, "jobs.submit", jobs=[say()]))["code"] == "forbidden"
    async with world.database.begin(SERVICE) as uow:
        wallet = await world.services.billing.wallet(uow, world.alice.user_id)
    assert wallet.available_micro + wallet.held_micro + wallet.captured_micro == CREDITS
    await assert_balanced(world.database)
