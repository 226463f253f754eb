"""Runs made of runs: replay from a step, fork with something changed, and who pays for what."""

from typing import Any

import httpx2
import pytest

from app.kernel.principal import SERVICE
from app.registry import ToolDefinition
from tests.books import assert_balanced
from tests.surfaces.conftest import PlayedProxy
from tests.surfaces.flows import flow, ran, say, start, states, steps
from tests.surfaces.test_http_errors import assert_problem
from tests.surfaces.test_http_jobs import ended
from tests.surfaces.world import DEFINITIONS, TOOL_PRICE, TOOLS, World

pytestmark = pytest.mark.anyio
THREE = flow(
    a=say("${{ input.a }}"),
    b=say("${{ input.b }}"),
    c=say("${{ steps.a.output.said }}${{ steps.b.output.said }}"),
)
GIVEN = {"a": "x", "b": "y"}


async def again(http: httpx2.AsyncClient, job: Any, how: str, **body: Any) -> dict[str, Any]:
    response = await http.post(f"/v1/jobs/{job['job_id']}/{how}", json=body)
    assert response.status_code == 201, response.text
    return dict(response.json())


def words(world: World) -> list[str]:
    """The words that tools were called with, in order."""
    proxy = world.services.proxy
    assert isinstance(proxy, PlayedProxy)
    return [str(call.arguments["word"]) for call in proxy.calls]


async def test_a_replay_does_and_pays_what_follows(http: httpx2.AsyncClient, world: World) -> None:
    source = await ran(http, THREE, GIVEN)
    before = len(words(world))
    job = await again(http, source, "replay", from_step="b")
    assert job["workflow"]["forked_from"] == source["job_id"]
    assert job["price_micro"] == 2 * TOOL_PRICE
    done = await ended(http, job)
    assert done["final_output"] == source["final_output"]
    assert done["charged_micro"] == 2 * TOOL_PRICE
    assert words(world)[before:] == ["y", "xy"]
    found = await steps(http, done)
    assert {path: step["is_kept"] for path, step in found.items() if path} == {
        "a": True,
        "b": False,
        "c": False,
    }
    assert found["a"]["output"] == {"said": "x"}
    await assert_balanced(world.database)


async def test_a_failed_run_goes_on_where_it_failed(http: httpx2.AsyncClient, world: World) -> None:
    broken = flow(a=say("a"), b=say("b", "a", tool="words.break"), c=say("c", "b"))
    source = await ran(http, broken, None, billing="usage")
    assert (source["status"], source["charged_micro"]) == ("Failed", TOOL_PRICE)
    mended = flow(a=say("a"), b=say("b", "a"), c=say("c", "b"))
    job = await again(http, source, "fork", workflow=mended)
    assert (job["price_micro"], job["workflow"]["billing"]) == (2 * TOOL_PRICE, "usage")
    done = await ended(http, job)
    assert (done["status"], done["charged_micro"]) == ("Success", 2 * TOOL_PRICE)
    assert words(world) == ["a", "b", "b", "c"]
    twice = await ended(http, await again(http, source, "replay", from_step="c"))
    assert (twice["status"], words(world)[4:]) == ("Failed", ["b"])
    await assert_balanced(world.database)


async def test_a_fork_with_another_input(http: httpx2.AsyncClient, world: World) -> None:
    source = await ran(http, THREE, GIVEN)
    before = len(words(world))
    job = await again(http, source, "fork", input={"a": "x", "b": "z"})
    done = await ended(http, job)
    assert done["final_output"] == {"output": {"said": "xz"}}
    assert words(world)[before:] == ["z", "xz"]
    same = await again(http, done, "fork", input={"a": "x", "b": "z"})
    assert same["price_micro"] == 0
    nothing = await ended(http, same)
    assert (nothing["status"], nothing["charged_micro"]) == ("Success", 0)
    assert nothing["final_output"] == done["final_output"]
    await assert_balanced(world.database)


async def test_items_of_a_map_are_kept(http: httpx2.AsyncClient, world: World) -> None:
    do = {"tool": "words.say", "arguments": {"word": "${{ item }}"}}
    source = await ran(http, flow(m={"map": {"over": ["p", "q", "r"], "do": do}}))
    before = len(words(world))
    job = await again(http, source, "replay", from_step="m[1]")
    assert job["price_micro"] == TOOL_PRICE
    done = await ended(http, job)
    assert words(world)[before:] == ["q"]
    assert done["final_output"] == source["final_output"]


async def test_what_changed_meanwhile_is_told(http: httpx2.AsyncClient, world: World) -> None:
    source = await ran(http, THREE, GIVEN)
    changed = [
        ToolDefinition("words", one.name, "Other words.", one.input_schema, None)
        for one in DEFINITIONS
    ]
    async with world.database.begin(SERVICE) as uow:
        await world.services.registry.pin(uow, TOOLS, changed)
        await world.services.registry.refresh(uow)
    body = {"from_step": "c"}
    response = await http.post(f"/v1/jobs/{source['job_id']}/replay", json=body)
    problem = assert_problem(response, 409, "tool_definition_changed")
    assert problem["details"]["targets"] == ["tool:words.say"]
    job = await again(http, source, "replay", **body, accept_changes=True)
    assert (await ended(http, job))["status"] == "Success"
    # Nothing of a changed tool runs again: nothing to accept.
    await again(http, source, "fork", input={**GIVEN, "c": 1})


async def test_one_key_is_one_repeat(http: httpx2.AsyncClient) -> None:
    source = await ran(http, THREE, GIVEN)
    url, key = f"/v1/jobs/{source['job_id']}/replay", {"idempotency-key": "again"}
    first = await http.post(url, json={"from_step": "c"}, headers=key)
    second = await http.post(url, json={"from_step": "c"}, headers=key)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["job_id"] == second.json()["job_id"]
    other = await http.post(url, json={"from_step": "a"}, headers=key)
    assert_problem(other, 409, "idempotency_mismatch")
    done = await ended(http, first.json())
    assert states(await steps(http, done)) == dict.fromkeys("abc", "Success")


async def test_what_cannot_be_repeated(http: httpx2.AsyncClient, world: World) -> None:
    live = await start(http, flow(h=say("x", tool="words.hang")))
    tool = (
        await http.post("/v1/jobs", json={"tool": "words.free", "arguments": {"word": "x"}})
    ).json()
    source = await ran(http, THREE, GIVEN)
    for job, how, body, status, code in (
        (live, "replay", {"from_step": "h"}, 409, "conflict"),
        (tool, "replay", {"from_step": "h"}, 409, "conflict"),
        (source, "replay", {"from_step": "nope"}, 404, "not_found"),
        (source, "replay", {}, 422, "invalid_input"),
        (source, "fork", {}, 422, "invalid_input"),
        (source, "fork", {"workflow": {"workflow": 1}}, 422, "invalid_input"),
        (source, "fork", {"workflow": "unsaved"}, 404, "not_found"),
    ):
        response = await http.post(f"/v1/jobs/{job['job_id']}/{how}", json=body)
        assert_problem(response, status, code)
    assert len((await http.get("/v1/jobs?kind=workflow")).json()["jobs"]) == 2
    await http.post(f"/v1/jobs/{live['job_id']}/cancel")
    await ended(http, live)
    await assert_balanced(world.database)
