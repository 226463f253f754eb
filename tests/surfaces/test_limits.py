"""Limits and their lines through both doors."""

from typing import Any
from uuid import uuid4

import httpx2
import pytest

from tests.surfaces.test_http_errors import assert_problem
from tests.surfaces.test_http_jobs import ended
from tests.surfaces.test_mcp import Era, call, connected, era
from tests.surfaces.test_queues import operator
from tests.surfaces.world import World

__all__ = ["era"]
pytestmark = pytest.mark.anyio


async def submit(http: httpx2.AsyncClient, count: int, **terms: Any) -> list[dict[str, Any]]:
    jobs = [{"tool": "words.say", "arguments": {"word": "x"}, **terms} for _ in range(count)]
    made = (await http.post("/v1/jobs:batch", json={"jobs": jobs})).json()["results"]
    return list(made)


async def test_a_paused_key_shows_its_line_and_goes_on(
    http: httpx2.AsyncClient, world: World
) -> None:
    set_to = {"max_running": 2, "is_paused": True}
    limit = (await http.put("/v1/limits/key:batch-7", json=set_to)).json()
    assert (limit["name"], limit["scope"], limit["max_running"]) == ("key:batch-7", "key", 2)
    jobs = await submit(http, 3, limit_key="batch-7")
    ids = [job["job_id"] for job in jobs]
    page = (await http.get("/v1/limits/key:batch-7/queue", params={"limit": 2})).json()
    assert [(one["job_id"], one["position"]) for one in page["waiting"]] == [
        (ids[0], 1),
        (ids[1], 2),
    ]
    after = {"after": page["next"]}
    rest = (await http.get("/v1/limits/key:batch-7/queue", params=after)).json()
    assert [one["job_id"] for one in rest["waiting"]] == ids[2:]
    assert (rest["running"], rest["next"], rest["limit"]["waiting"]) == ([], None, 3)
    await http.post(f"/v1/jobs/{ids[1]}/cancel")
    assert (await http.delete("/v1/limits/key:batch-7")).status_code == 204
    assert_problem(await http.delete("/v1/limits/key:batch-7"), 404, "not_found")
    await keep(world)
    for job in (jobs[0], jobs[2]):
        assert (await ended(http, job))["status"] == "Success"


async def keep(world: World) -> None:
    """What the keeper of a running platform does."""
    from app.orchestration import Admission, JobLimits, LimitKeeper

    services = world.services
    limits = services.limits
    assert isinstance(limits, JobLimits)
    admission = Admission(services.wakeups)
    await LimitKeeper(services.database, services.wakeups, admission, limits).run_once()


async def test_limits_are_listed_page_by_page(http: httpx2.AsyncClient) -> None:
    for name in ("key:a", "key:b", "key:*"):
        assert (await http.put(f"/v1/limits/{name}", json={"max_running": 3})).status_code == 200
    names, after = [], None
    while True:
        query = {"limit": 2} | ({"after": after} if after else {})
        page = (await http.get("/v1/limits", params=query)).json()
        names += [one["name"] for one in page["limits"]]
        if (after := page["next"]) is None:
            break
    assert sorted(names) == ["key:*", "key:a", "key:b"]


async def test_the_platforms_limits_are_operators(http: httpx2.AsyncClient, world: World) -> None:
    boss = dict((await operator(world)).headers)
    for name in ("tool:words.say", "user:*", f"user:{world.bob.user_id}"):
        assert_problem(await http.put(f"/v1/limits/{name}", json={}), 403, "forbidden")
    assert_problem(await http.get("/v1/limits", params={"platform": True}), 403, "forbidden")
    assert_problem(await http.get(f"/v1/limits/user:{uuid4()}/queue"), 403, "forbidden")
    body = {"is_paused": True}
    made = await http.put("/v1/limits/tool:words.say", json=body, headers=boss)
    assert made.status_code == 200, made.text
    shown = (await http.get("/v1/limits?platform=true", headers=boss)).json()["limits"]
    assert [one["name"] for one in shown] == ["tool:words.say"]
    await keep(world)
    (mine,) = await submit(http, 1)
    await http.post(
        "/v1/jobs",
        json={"tool": "words.say", "arguments": {"word": "y"}},
        headers=dict(world.bob.headers),
    )
    line = (await http.get("/v1/limits/tool:words.say/queue")).json()
    assert [one["job_id"] for one in line["waiting"]] == [mine["job_id"]]
    assert line["limit"]["waiting"] == 2
    await http.delete("/v1/limits/tool:words.say", headers=boss)
    await keep(world)
    assert (await ended(http, mine))["status"] == "Success"


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("key:a b", {}),
        ("queue:x", {}),
        ("key:a", {"burst": 2}),
        ("key:a", {"max_running": -1}),
        ("key:a", {"rate_per_minute": 0}),
    ],
)
async def test_what_can_be_no_limit_is_refused(
    http: httpx2.AsyncClient, name: str, body: dict[str, Any]
) -> None:
    assert_problem(await http.put(f"/v1/limits/{name}", json=body), 422, "invalid_input")


async def test_a_limit_over_mcp(url: str, world: World, era: Era) -> None:
    async with connected(url, world.alice, era) as client:
        made = await call(client, "jobs.set_limit", name="key:m", rate_per_minute=60, burst=2)
        assert (made["rate_per_minute"], made["burst"]) == (60, 2)
        listed = await call(client, "jobs.limits")
        assert [one["name"] for one in listed["limits"]] == ["key:m"]
        line = await call(client, "jobs.limit_queue", name="key:m")
        assert (line["waiting"], line["running"]) == ([], [])
        assert (await call(client, "jobs.remove_limit", name="key:m")) == {"name": "key:m"}
