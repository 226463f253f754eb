"""Schedules through both doors: made, looked at, changed, fired, backfilled."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from app.kernel.principal import SERVICE, Scope
from app.orchestration import Scheduler
from app.surfaces.context import Access
from app.surfaces.schedulejobs import ScheduleJobs
from tests.books import assert_balanced
from tests.surfaces.test_http_errors import assert_problem
from tests.surfaces.test_http_jobs import ended
from tests.surfaces.test_mcp import Era, call, connected, era, refused
from tests.surfaces.world import TASK_PRICE, TOOL_PRICE, World, person

__all__ = ["era"]
pytestmark = pytest.mark.anyio


def scheduler(world: World) -> Scheduler:
    services = world.services
    make = ScheduleJobs(services, Access(world.database, services.auth))
    return Scheduler(world.database, services.jobs, make)


def hourly() -> dict[str, Any]:
    """Every hour, at a minute that is a quarter of an hour away: none comes during a test."""
    minute = 30 if (datetime.now(UTC).minute + 15) % 60 < 30 else 0
    return {"name": "hourly", "cron": f"{minute} * * * *"}


def say(name: str = "hourly", **more: Any) -> dict[str, Any]:
    return hourly() | {"name": name, "tool": "words_say", "arguments": {"word": "hi"}} | more


async def create(http: httpx2.AsyncClient, body: dict[str, Any]) -> dict[str, Any]:
    response = await http.post("/v1/schedules", json=body)
    assert response.status_code == 201, response.text
    return dict(response.json())


async def fire(world: World, schedule: dict[str, Any]) -> None:
    """Let the moment before the next one be due now."""
    async with world.database.begin(SERVICE) as uow:
        await uow.execute(
            "update app.job_schedule set next_at = next_at - interval '1 hour'"
            " where schedule_id = :id",
            {"id": schedule["schedule_id"]},
        )
    assert await scheduler(world).run_once() == 1


async def test_a_schedule_from_the_request_to_its_job(
    http: httpx2.AsyncClient, world: World
) -> None:
    made = await create(http, say(priority=-1, time_zone="Europe/Berlin"))
    assert (made["tool"], made["arguments"]) == ("words.say", {"word": "hi"})
    assert (made["template"], made["priority"], made["last_error"]) == (None, -1, None)
    await fire(world, made)
    path = f"/v1/schedules/{made['schedule_id']}"
    shown = (await http.get(path)).json()
    job = await ended(http, {"job_id": shown["last_job_id"]})
    assert (job["status"], job["final_output"]) == ("Success", {"said": "hi"})
    assert job["charged_micro"] == TOOL_PRICE
    (moment,) = (await http.get(f"{path}/moments")).json()["moments"]
    assert (moment["outcome"], moment["job_id"]) == ("Submitted", job["job_id"])
    assert moment["moment"] == shown["last_at"]
    await assert_balanced(world.database)


async def test_a_task_keeps_its_inline_file(http: httpx2.AsyncClient, world: World) -> None:
    record = {"text": "ACGT", "name": "a.fa"}
    asked = {"template": "echo", "input": {"text": "again", "record": record}}
    made = await create(http, {**hourly(), **asked})
    assert made["input"]["record"] != record
    await fire(world, made)
    shown = (await http.get(f"/v1/schedules/{made['schedule_id']}")).json()
    job = await ended(http, {"job_id": shown["last_job_id"]})
    assert (job["status"], job["input"]) == ("Success", made["input"])
    assert job["charged_micro"] == TASK_PRICE


async def test_what_cannot_be_scheduled(http: httpx2.AsyncClient, world: World) -> None:
    for body, status, code, where in (
        (say(cron="* * * *"), 422, "invalid_input", "/cron"),
        (say(time_zone="Berlin"), 422, "invalid_input", "/time_zone"),
        (say(arguments={}), 422, "invalid_input", None),
        (say(tool="words.sey"), 404, "tool_unknown", None),
        (say(input={}), 422, "invalid_input", "/input"),
        (say(priority=3), 422, "invalid_input", "/priority"),
        (say(catch_up="some"), 422, "invalid_input", "/catch_up"),
        (say(when="now"), 422, "unknown_field", "/when"),
        (say(name="a\x00"), 422, "invalid_input", "/name"),
        (say(cron="0 0 30 2 *"), 422, "invalid_input", "/cron"),
    ):
        problem = assert_problem(await http.post("/v1/schedules", json=body), status, code)
        assert where is None or problem["details"]["pointer"] == where
    await create(http, say())
    assert_problem(await http.post("/v1/schedules", json=say()), 409, "conflict")
    narrow = await person(world.services, "n@example.org", frozenset({Scope.JOBS}))
    response = await http.post("/v1/schedules", json=say(), headers=dict(narrow.headers))
    assert_problem(response, 403, "forbidden")


async def test_paused_changed_deleted(http: httpx2.AsyncClient, world: World) -> None:
    made = await create(http, say())
    path = f"/v1/schedules/{made['schedule_id']}"
    for _ in range(2):
        paused = (await http.post(f"{path}/pause")).json()
        assert (paused["is_paused"], paused["next_at"]) == (True, None)
    resumed = (await http.post(f"{path}/resume")).json()
    assert resumed["next_at"] == made["next_at"]
    changed = await http.put(path, json=say("daily", cron="0 0  * * *"))
    assert (changed.json()["name"], changed.json()["cron"]) == ("daily", "0 0 * * *")
    page = (await http.get("/v1/schedules", params={"limit": 1})).json()
    assert [one["schedule_id"] for one in page["schedules"]] == [made["schedule_id"]]
    assert page["next"] is None
    other = dict(world.bob.headers)
    for method, to in (
        ("GET", ""),
        ("GET", "/moments"),
        ("DELETE", ""),
        ("POST", "/pause"),
        ("POST", "/resume"),
    ):
        response = await http.request(method, path + to, headers=other)
        assert_problem(response, 404, "not_found")
    assert_problem(await http.put(path, json=say(), headers=other), 404, "not_found")
    assert (await http.delete(path)).status_code == 204
    assert_problem(await http.delete(path), 404, "not_found")


async def test_a_backfill(http: httpx2.AsyncClient, world: World) -> None:
    made = await create(http, say())
    path = f"/v1/schedules/{made['schedule_id']}/backfill"
    last = datetime.fromisoformat(made["next_at"]) - timedelta(hours=1)
    span = {"from": (last - timedelta(hours=2)).isoformat(), "to": last.isoformat()}
    done = (await http.post(path, json=span)).json()["moments"]
    assert [one["outcome"] for one in done] == ["Submitted"] * 3
    assert (await http.post(path, json=span)).json()["moments"] == []
    years = span | {"from": "1990-01-01T00:00:00Z"}
    problem = assert_problem(await http.post(path, json=years), 422, "invalid_input")
    assert "1000 moments" in problem["detail"]
    for wrong in ({"to": span["from"], "from": span["to"]}, {"from": 5, "to": 6}, {}):
        assert_problem(await http.post(path, json=wrong), 422, "invalid_input")
    absent = f"/v1/schedules/{uuid4()}/backfill"
    assert_problem(await http.post(absent, json=span), 404, "not_found")
    for one in done:
        await ended(http, one)
    await assert_balanced(world.database)


async def test_a_moment_without_credits_is_shown(http: httpx2.AsyncClient, world: World) -> None:
    poor = await person(world.services, "poor@example.org", granted=TOOL_PRICE - 1)
    response = await http.post("/v1/schedules", json=say(), headers=dict(poor.headers))
    made = response.json()
    await fire(world, made)
    path = f"/v1/schedules/{made['schedule_id']}"
    shown = (await http.get(path, headers=dict(poor.headers))).json()
    assert shown["last_error"]["code"] == "insufficient_credits"
    assert shown["last_job_id"] is None
    await assert_balanced(world.database)


async def test_a_preview(http: httpx2.AsyncClient) -> None:
    body = {"cron": "0 0 1 1 *", "time_zone": "Asia/Tokyo"}
    moments = (await http.post("/v1/schedules:preview", json=body)).json()["moments"]
    assert len(moments) == 5
    assert all(moment.endswith("-12-31T15:00:00Z") for moment in moments)
    assert_problem(
        await http.post("/v1/schedules:preview", json={"cron": "x"}), 422, "invalid_input"
    )


async def test_schedules_over_mcp(url: str, world: World, era: Era) -> None:
    async with connected(url, world.alice, era) as client:
        made = await call(client, "schedules.create", **say())
        one = {"schedule_id": made["schedule_id"]}
        await fire(world, made)
        shown = await call(client, "schedules.show", **one)
        assert [m["outcome"] for m in shown["moments"]["moments"]] == ["Submitted"]
        assert (await call(client, "schedules.pause", **one))["is_paused"]
        assert not (await call(client, "schedules.resume", **one))["is_paused"]
        changed = await call(client, "schedules.change", **one, **say("x", catch_up="all"))
        assert (changed["name"], changed["catch_up"]) == ("x", "all")
        assert len((await call(client, "schedules.list"))["schedules"]) == 1
        at = shown["schedule"]["last_at"]
        filled = await call(client, "schedules.backfill", **one, **{"from": at, "to": at})
        assert filled == {"moments": []}
        preview = await call(client, "schedules.preview", cron="* * * * *")
        assert len(preview["moments"]) == 5
        assert await call(client, "schedules.delete", **one) == one
        assert (await refused(client, "schedules.show", **one))["code"] == "not_found"
