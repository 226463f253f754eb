"""Webhooks through both doors, and the jobs that name them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from app.kernel.clock import SystemClock
from app.kernel.crypto import key_id
from app.kernel.egress import GuardedTransport
from app.kernel.principal import SERVICE, Scope
from app.orchestration import Deliverer, Sender
from tests.books import assert_balanced
from tests.orchestration.webhooks.receiver import is_signed_by, receiving
from tests.surfaces.test_http_errors import assert_problem
from tests.surfaces.test_http_jobs import ended
from tests.surfaces.test_mcp import Era, call, connected, era, refused
from tests.surfaces.test_schedules import create as schedule
from tests.surfaces.test_schedules import fire
from tests.surfaces.test_schedules import say as nightly
from tests.surfaces.world import CREDITS, WEBHOOK_KEY, World, person

__all__ = ["era"]
pytestmark = pytest.mark.anyio

URL = "https://hooks.example.org/uaol"
SAY = {"tool": "words.say", "arguments": {"word": "hi"}}
ECHO = {"template": "echo", "input": {"text": "a"}}
FLOW = {
    "workflow": {"workflow": 1, "nodes": {"a": {"tool": "words.say", "arguments": {"word": "x"}}}}
}


@asynccontextmanager
async def delivering(world: World) -> AsyncIterator[Deliverer]:
    services, transport = world.services, GuardedTransport(allow_private=True)
    sender = Sender(transport, WEBHOOK_KEY, SystemClock())
    key = key_id(WEBHOOK_KEY)
    yield Deliverer(world.database, services.wakeups, sender, services.metrics, key)
    await transport.aclose()


async def add(http: httpx2.AsyncClient, url: str = URL, **more: Any) -> dict[str, Any]:
    response = await http.post("/v1/webhooks", json={"url": url, **more})
    assert response.status_code == 201, response.text
    return dict(response.json())


async def disable(http: httpx2.AsyncClient, webhook_id: str) -> None:
    body = {"url": URL, "is_enabled": False}
    assert (await http.put(f"/v1/webhooks/{webhook_id}", json=body)).status_code == 200


async def held(world: World) -> tuple[int, int]:
    async with world.database.begin(SERVICE) as uow:
        wallet = await world.services.billing.wallet(uow, world.alice.user_id)
        jobs = (await uow.execute("select count(*) from app.processing_jobs")).scalar_one()
    return CREDITS - wallet.available_micro, jobs


async def test_an_endpoint_from_its_making_to_its_end(http: httpx2.AsyncClient) -> None:
    made = await add(http, description="the laboratory's")
    path = f"/v1/webhooks/{made['webhook_id']}"
    assert made.pop("secret").startswith("whsec_")
    shown = (await http.get(path)).json()
    assert shown == made
    assert (shown["url"], shown["is_enabled"], shown["disabled_reason"]) == (URL, True, None)
    changed = (await http.put(path, json={"url": URL + "/2", "is_enabled": False})).json()
    assert (changed["url"], changed["description"]) == (URL + "/2", "")
    assert (changed["is_enabled"], changed["disabled_reason"]) == (False, "By its owner.")
    assert_problem(await http.post(f"{path}/test"), 422, "invalid_input")
    rotated = (await http.post(f"{path}/rotate")).json()
    assert rotated["secret"].startswith("whsec_")
    listed = (await http.get("/v1/webhooks")).json()
    assert listed == {"webhooks": [changed], "next": None}
    assert (await http.delete(path)).status_code == 204
    for method, end, body in (
        ("GET", "", None),
        ("DELETE", "", None),
        ("PUT", "", {"url": URL}),
        ("POST", "/rotate", None),
        ("POST", "/test", None),
        ("GET", "/deliveries", None),
        ("POST", f"/deliveries/{uuid4()}/redeliver", None),
    ):
        assert_problem(await http.request(method, path + end, json=body), 404, "not_found")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_input"),
        ({"url": "ftp://example.org"}, "invalid_input"),
        ({"url": "https://u:p@example.org/"}, "invalid_input"),
        ({"url": "https://" + "a" * 3000}, "invalid_input"),
        ({"url": URL, "secret": "x"}, "unknown_field"),
        ({"url": URL, "description": "a" * 501}, "invalid_input"),
    ],
)
async def test_what_can_be_no_endpoint_is_refused(
    http: httpx2.AsyncClient, body: dict[str, Any], code: str
) -> None:
    assert_problem(await http.post("/v1/webhooks", json=body), 422, code)


async def test_endpoints_come_page_by_page_and_have_an_end(http: httpx2.AsyncClient) -> None:
    made = [(await add(http))["webhook_id"] for _ in range(20)]
    assert_problem(await http.post("/v1/webhooks", json={"url": URL}), 409, "conflict")
    first = (await http.get("/v1/webhooks?limit=15")).json()
    rest = (await http.get(f"/v1/webhooks?limit=15&before={first['next']}")).json()
    found = [one["webhook_id"] for one in first["webhooks"] + rest["webhooks"]]
    assert (found, rest["next"]) == (made[::-1], None)


async def test_it_is_its_owners_alone(http: httpx2.AsyncClient, world: World) -> None:
    made = await add(http)
    path, bob = f"/v1/webhooks/{made['webhook_id']}", dict(world.bob.headers)
    for method, end in (
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/rotate"),
        ("POST", "/test"),
        ("GET", "/deliveries"),
    ):
        assert_problem(await http.request(method, path + end, headers=bob), 404, "not_found")
    changed = await http.put(path, json={"url": URL}, headers=bob)
    assert_problem(changed, 404, "not_found")
    named = await http.post("/v1/jobs", json=SAY | {"webhook": made["webhook_id"]}, headers=bob)
    assert_problem(named, 404, "not_found")
    narrow = await person(world.services, "n@example.org", frozenset({Scope.FILES}))
    assert_problem(await http.get(path, headers=dict(narrow.headers)), 403, "forbidden")
    assert (await http.get(path)).status_code == 200


@pytest.mark.parametrize("body", [SAY, ECHO])
async def test_a_job_names_an_endpoint_that_is_there_and_enabled(
    http: httpx2.AsyncClient, world: World, body: dict[str, Any]
) -> None:
    off = (await add(http))["webhook_id"]
    await disable(http, off)
    for webhook, status, code in ((str(uuid4()), 404, "not_found"), (off, 422, "invalid_input")):
        problem = assert_problem(
            await http.post("/v1/jobs", json=body | {"webhook": webhook}), status, code
        )
        assert problem["details"]["pointer"] == "/webhook"
    assert await held(world) == (0, 0)


async def test_a_workflow_names_one_too(http: httpx2.AsyncClient, world: World) -> None:
    run = FLOW | {"webhook": str(uuid4())}
    assert_problem(await http.post("/v1/workflows/runs", json=run), 404, "not_found")
    assert await held(world) == (0, 0)
    webhook = (await add(http))["webhook_id"]
    made = await http.post("/v1/workflows/runs", json=FLOW | {"webhook": webhook})
    await ended(http, made.json())
    told = (await http.get(f"/v1/webhooks/{webhook}/deliveries")).json()["deliveries"]
    assert [one["type"] for one in told] == ["job.succeeded"]


async def test_in_a_batch_it_refuses_its_own_job_only(
    http: httpx2.AsyncClient, world: World
) -> None:
    on, off = (await add(http))["webhook_id"], (await add(http))["webhook_id"]
    # Known as enabled before it is disabled: what is remembered is forgotten then.
    await http.post("/v1/jobs:batch", json={"jobs": [SAY | {"webhook": off}]})
    await disable(http, off)
    hooks = [on, str(uuid4()), None, off, on]
    jobs = [SAY | ({"webhook": hook} if hook else {}) for hook in hooks]
    results = (await http.post("/v1/jobs:batch", json={"jobs": jobs})).json()["results"]
    codes = [(one.get("error") or {}).get("code") for one in results]
    assert codes == [None, "not_found", None, "invalid_input", None]
    for place in (0, 2, 4):
        await ended(http, results[place])
    told = (await http.get(f"/v1/webhooks/{on}/deliveries")).json()["deliveries"]
    wanted = {results[place]["job_id"] for place in (0, 4)}
    assert {one["job_id"] for one in told} == wanted
    await assert_balanced(world.database)


async def test_from_a_job_to_its_receiver(http: httpx2.AsyncClient, world: World) -> None:
    async with receiving() as receiver, delivering(world) as deliverer:
        made = await add(http, receiver.url)
        path = f"/v1/webhooks/{made['webhook_id']}"
        ping = (await http.post(f"{path}/test")).json()
        assert (ping["type"], ping["status"]) == ("webhook.ping", "pending")
        assert (await http.post(f"{path}/test")).json()["delivery_id"] == ping["delivery_id"]
        job = (await http.post("/v1/jobs", json=SAY | {"webhook": made["webhook_id"]})).json()
        await ended(http, job)
        assert await deliverer.run_once() == 2
        assert all(is_signed_by(made["secret"], got) for got in receiver.got)
        page = (await http.get(f"{path}/deliveries?limit=1")).json()
        (newest,) = page["deliveries"]
        assert (newest["job_id"], newest["status"]) == (job["job_id"], "delivered")
        rest = (await http.get(f"{path}/deliveries?before={page['next']}")).json()
        assert [one["delivery_id"] for one in rest["deliveries"]] == [ping["delivery_id"]]
        assert (await http.get(f"{path}/deliveries?status=failed")).json()["deliveries"] == []
        wrong = await http.get(f"{path}/deliveries?status=lost")
        assert_problem(wrong, 422, "invalid_input")
        again = f"{path}/deliveries/{newest['delivery_id']}/redeliver"
        assert (await http.post(again)).status_code == 202
        await deliverer.run_once()
        assert [got.id for got in receiver.got].count(newest["delivery_id"]) == 2
        links = receiver.got[-1].message["data"]["links"]
        assert (await http.get(links["job"])).json()["status"] == "Success"


async def test_a_schedule_goes_on_when_its_endpoint_is_disabled(
    http: httpx2.AsyncClient, world: World
) -> None:
    refused_now = nightly(webhook=str(uuid4()))
    assert_problem(await http.post("/v1/schedules", json=refused_now), 404, "not_found")
    webhook = (await add(http))["webhook_id"]
    made = await schedule(http, nightly(webhook=webhook))
    await disable(http, webhook)
    await fire(world, made)
    jobs = (await http.get("/v1/jobs")).json()["jobs"]
    await ended(http, jobs[0])
    (told,) = (await http.get(f"/v1/webhooks/{webhook}/deliveries")).json()["deliveries"]
    assert (told["job_id"], told["status"]) == (jobs[0]["job_id"], "pending")


async def test_over_mcp(url: str, world: World, era: Era) -> None:
    async with connected(url, world.alice, era) as client:
        made = await call(client, "webhooks.create", url=URL)
        assert made["secret"].startswith("whsec_")
        (listed,) = (await call(client, "webhooks.list"))["webhooks"]
        assert listed["webhook_id"] == made["webhook_id"]
        assert "secret" not in listed
        one = {"webhook_id": made["webhook_id"]}
        ping = await call(client, "webhooks.test", **one)
        found = await call(client, "webhooks.deliveries", **one, status="pending")
        assert [each["delivery_id"] for each in found["deliveries"]] == [ping["delivery_id"]]
        assert await call(client, "webhooks.delete", **one) == one
        assert (await refused(client, "webhooks.test", **one))["code"] == "not_found"
