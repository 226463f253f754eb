"""Who pays for steps that a run takes over, and for those of a run that was cancelled."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from app.kernel.principal import SERVICE
from tests.books import assert_balanced
from tests.surfaces.conftest import PlayedProxy
from tests.surfaces.flows import flow, ran, say, start, states, steps
from tests.surfaces.test_http_jobs import ended
from tests.surfaces.test_workflows_asking import ASKING, asked
from tests.surfaces.world import CREDITS, TOOL_PRICE, World

pytestmark = pytest.mark.anyio
BROKEN = flow(a=say("a"), b=say("b", "a", tool="words.refuse"), c=say("c", "b"))
MENDED = flow(a=say("a"), b=say("b", "a"), c=say("c", "b"))
HALF = flow(a=say("a"), b=say("b", "a"), c=say("c", "b", tool="words.refuse"))
PAID_HANG = flow(a=say("a"), h=say("x", "a", tool="words.hang"), z=say("z", "h"))


async def fork(http: httpx2.AsyncClient, source: Any, workflow: Any, **more: Any) -> dict[str, Any]:
    body = {"workflow": workflow, **more}
    response = await http.post(f"/v1/jobs/{source['job_id']}/fork", json=body)
    assert response.status_code == 201, response.text
    return dict(response.json())


def calls(world: World) -> list[str]:
    proxy = world.services.proxy
    assert isinstance(proxy, PlayedProxy)
    return [str(call.arguments["word"]) for call in proxy.calls]


async def spent(http: httpx2.AsyncClient, world: World) -> int:
    """What the wallet has paid, in prices of a tool, once nothing is held."""
    await assert_balanced(world.database)
    wallet = (await http.get("/v1/wallet")).json()
    assert wallet["held_micro"] == 0
    assert wallet["available_micro"] + wallet["captured_micro"] == CREDITS
    return int(wallet["captured_micro"]) // TOOL_PRICE


async def test_steps_of_a_free_run_are_paid_where_they_are_taken_over(
    http: httpx2.AsyncClient, world: World
) -> None:
    free = await ran(http, BROKEN)
    assert (free["status"], free["charged_micro"]) == ("Failed", 0)
    job = await fork(http, free, MENDED)
    assert job["price_micro"] == 3 * TOOL_PRICE
    done = await ended(http, job)
    assert (done["status"], done["charged_micro"]) == ("Success", 3 * TOOL_PRICE)
    assert calls(world) == ["a", "b", "b", "c"]
    assert (await steps(http, done))["a"]["is_kept"]
    # Now somebody has paid for all three.
    replay = {"from_step": "c"}
    more = (await http.post(f"/v1/jobs/{done['job_id']}/replay", json=replay)).json()
    assert more["price_micro"] == TOOL_PRICE
    assert (await ended(http, more))["charged_micro"] == TOOL_PRICE
    assert await spent(http, world) == 4


async def test_a_chain_of_free_runs_makes_nothing_free(
    http: httpx2.AsyncClient, world: World
) -> None:
    first = await ran(http, BROKEN)
    second = await ended(http, await fork(http, first, HALF))
    assert (second["status"], second["price_micro"]) == ("Failed", 3 * TOOL_PRICE)
    assert second["charged_micro"] == 0
    replay = {"from_step": "c"}
    third = (await http.post(f"/v1/jobs/{second['job_id']}/replay", json=replay)).json()
    assert third["price_micro"] == 3 * TOOL_PRICE
    assert (await ended(http, third))["charged_micro"] == 0
    last = await ended(http, await fork(http, third, MENDED))
    assert (last["status"], last["charged_micro"]) == ("Success", 3 * TOOL_PRICE)
    assert calls(world) == ["a", "b", "b", "c", "c", "c"]
    assert await spent(http, world) == 3


async def test_what_was_paid_once_stays_paid(http: httpx2.AsyncClient, world: World) -> None:
    paid = await ran(http, flow(a=say("a")))
    failed = await ended(http, await fork(http, paid, HALF))
    assert (failed["price_micro"], failed["charged_micro"]) == (2 * TOOL_PRICE, 0)
    # `a` was paid by the first run, `b` by nobody.
    job = await fork(http, failed, MENDED)
    assert job["price_micro"] == 2 * TOOL_PRICE
    assert (await ended(http, job))["charged_micro"] == 2 * TOOL_PRICE
    assert calls(world) == ["a", "b", "c", "c"]
    assert await spent(http, world) == 3


async def test_a_run_in_usage_mode_has_paid_for_its_steps(
    http: httpx2.AsyncClient, world: World
) -> None:
    failed = await ran(http, BROKEN, billing="usage")
    assert failed["charged_micro"] == TOOL_PRICE
    job = await fork(http, failed, MENDED, billing="outcome")
    assert job["price_micro"] == 2 * TOOL_PRICE
    assert (await ended(http, job))["charged_micro"] == 2 * TOOL_PRICE
    # In usage mode what a free run did is paid even if the run that took it over fails too.
    free = await ran(http, BROKEN)
    taken = await ended(http, await fork(http, free, HALF, billing="usage"))
    assert (taken["status"], taken["charged_micro"]) == ("Failed", 2 * TOOL_PRICE)
    assert await spent(http, world) == 5


async def test_items_of_a_free_run_are_paid(http: httpx2.AsyncClient, world: World) -> None:
    each = {"map": {"over": ["p", "q", "r"], "do": say("${{ item }}")}}
    del each["map"]["do"]["after"]  # type: ignore[attr-defined]
    failed = await ran(http, flow(m=each, x=say("x", "m", tool="words.refuse")))
    job = await fork(http, failed, flow(m=each, x=say("x", "m")))
    assert job["price_micro"] == 4 * TOOL_PRICE
    assert (await ended(http, job))["charged_micro"] == 4 * TOOL_PRICE
    assert calls(world)[3:] == ["x", "x"]
    assert await spent(http, world) == 4


@pytest.mark.parametrize(("billing", "prices"), [("outcome", 0), ("usage", 1)])
async def test_a_running_run_that_is_cancelled(
    http: httpx2.AsyncClient, world: World, billing: str, prices: int
) -> None:
    job = await start(http, PAID_HANG, billing=billing)
    proxy = world.services.proxy
    assert isinstance(proxy, PlayedProxy)
    await proxy.is_hanging.wait()
    await http.post(f"/v1/jobs/{job['job_id']}/cancel")
    done = await ended(http, job)
    assert (done["status"], done["charged_micro"]) == ("Cancelled", prices * TOOL_PRICE)
    assert await spent(http, world) == prices
    # What it was charged for is free in a run that takes it over.
    again = await fork(http, done, MENDED)
    assert again["price_micro"] == (3 - prices) * TOOL_PRICE
    assert (await ended(http, again))["charged_micro"] == (3 - prices) * TOOL_PRICE
    assert await spent(http, world) == 3


@pytest.mark.parametrize(("billing", "prices"), [("outcome", 0), ("usage", 1)])
async def test_a_waiting_run_that_is_cancelled(
    http: httpx2.AsyncClient, world: World, billing: str, prices: int
) -> None:
    job = await start(http, ASKING, "oligos", billing=billing)
    await asked(http, job)
    async with asyncio.timeout(60):
        while (await http.get(f"/v1/jobs/{job['job_id']}")).json()["status"] != "Waiting":
            await asyncio.sleep(0.01)
    cancelled = (await http.post(f"/v1/jobs/{job['job_id']}/cancel")).json()
    assert (cancelled["status"], cancelled["charged_micro"]) == ("Cancelled", prices * TOOL_PRICE)
    assert states(await steps(http, job)) == {"a": "Success", "ask": "Stopped", "tell": "NotRun"}
    trace = (await http.get(f"/v1/jobs/{job['job_id']}/events")).json()["events"]
    assert trace[-1]["data"]["charged_micro"] == prices * TOOL_PRICE
    assert await spent(http, world) == prices


async def test_a_run_that_never_started_is_cancelled_for_nothing(
    http: httpx2.AsyncClient, world: World
) -> None:
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    job = await start(http, MENDED, billing="usage", run_at=later)
    cancelled = (await http.post(f"/v1/jobs/{job['job_id']}/cancel")).json()
    assert (cancelled["status"], cancelled["charged_micro"]) == ("Cancelled", 0)
    assert await spent(http, world) == 0


async def test_a_run_that_was_given_up_is_free(http: httpx2.AsyncClient, world: World) -> None:
    job = await start(http, ASKING, "oligos", billing="usage")
    await asked(http, job)
    async with asyncio.timeout(60):
        while (await http.get(f"/v1/jobs/{job['job_id']}")).json()["status"] != "Waiting":
            await asyncio.sleep(0.01)
    async with world.database.begin(SERVICE) as uow:
        await uow.execute("update app.job_queue set failures = 99, run_at = now()")
    done = await ended(http, job)
    assert (done["status"], done["charged_micro"]) == ("Dead", 0)
    assert await spent(http, world) == 0
    # Nobody has paid for `a`: a run that takes it over does.
    again = await fork(http, done, flow(a=say("a")))
    assert again["price_micro"] == TOOL_PRICE
    assert (await ended(http, again))["charged_micro"] == TOOL_PRICE


async def test_a_redriven_run_keeps_what_it_took_over(
    http: httpx2.AsyncClient, world: World
) -> None:
    paid = await ran(http, flow(a=say("a")))
    job = await fork(http, paid, ASKING, input="oligos")
    assert job["price_micro"] == TOOL_PRICE
    await asked(http, job)
    async with asyncio.timeout(60):
        while (await http.get(f"/v1/jobs/{job['job_id']}")).json()["status"] != "Waiting":
            await asyncio.sleep(0.01)
    async with world.database.begin(SERVICE) as uow:
        await uow.execute("update app.job_queue set failures = 99, run_at = now()")
    assert (await ended(http, job))["status"] == "Dead"
    made = (await http.post(f"/v1/dead-letters/{job['job_id']}/redrive")).json()
    redriven = {"job_id": made["redriven_as"]}
    await asked(http, redriven)
    answer = {"step": "ask", "answer": {"order": True}}
    response = await http.post(f"/v1/jobs/{redriven['job_id']}/answers", json=answer)
    assert response.status_code == 200
    done = await ended(http, redriven)
    assert (done["status"], done["charged_micro"]) == ("Success", TOOL_PRICE)
    assert calls(world) == ["a", "true"]
    assert await spent(http, world) == 2
