"""Usage mode through the doors: quoted, submitted, charged for what was used."""

from typing import Any

import httpx2
import pytest

from app.billing import UsageRate
from app.kernel.principal import SERVICE
from app.orchestration import JobContext, Outcome
from tests.surfaces.test_http_errors import assert_problem
from tests.surfaces.test_http_jobs import ended
from tests.surfaces.test_mcp import call, connected, refused
from tests.surfaces.world import CREDITS, World

pytestmark = pytest.mark.anyio

CALL = 300_000
RATES = [
    UsageRate("tool", "*", "calls", 1, CALL, 1, 4),
    UsageRate("tool", "words.free", "calls", 1, 0),
    UsageRate("tool", "*", "bytes_in", 3, 1, 0, 40),
]
USED = 2 * CALL + 7  # two answers of 10 bytes in, at a third of a micro-credit a byte


@pytest.fixture
async def offered(world: World) -> World:
    """The echo task offers usage mode, and calls as many tools as its text says."""
    async with world.database.begin(SERVICE) as uow:
        await world.services.billing.publish_usage(uow, "template", "echo", RATES)

    async def run(ctx: JobContext) -> Outcome:
        for at in range(int(ctx.job.definition["input"]["text"])):
            await ctx.call_tool("words.say", {"word": "hi"}, key=f"k{at}")
        return Outcome(True, {"said": "hi"})

    world.task.run = run  # type: ignore[method-assign]
    return world


def body(count: int, **changes: Any) -> dict[str, Any]:
    return {"template": "echo", "input": {"text": str(count)}, "billing": "usage", **changes}


async def wallet(http: httpx2.AsyncClient) -> tuple[int, int, int]:
    shown = (await http.get("/v1/wallet")).json()
    return shown["available_micro"], shown["held_micro"], shown["captured_micro"]


async def test_a_quote_tells_low_high_cap_and_rates(
    http: httpx2.AsyncClient, offered: World
) -> None:
    asked = {"kind": "template", "name": "echo", "billing": "usage", "max_credits": "5.5"}
    quote = (await http.post("/v1/quotes", json=asked)).json()
    assert (quote["mode"], quote["price_version"]) == ("usage", 1)
    assert (quote["low_micro"], quote["high_micro"]) == (CALL, 4 * CALL + 14)
    assert (quote["amount_micro"], quote["cap_micro"]) == (4 * CALL + 14, 5_500_000)
    assert {rate["unit"] for rate in quote["rates"]} == {"calls", "bytes_in"}
    plain = (await http.post("/v1/quotes", json={"kind": "template", "name": "echo"})).json()
    assert (plain["mode"], plain["cap_micro"]) == ("outcome", None)


async def test_a_run_over_http_is_charged_what_it_used(
    http: httpx2.AsyncClient, offered: World
) -> None:
    made = await http.post("/v1/jobs", json=body(2))
    assert made.status_code == 201
    assert (made.json()["billing"], made.json()["price_micro"]) == ("usage", 4 * CALL + 14)
    done = await ended(http, made.json())
    assert (done["status"], done["charged_micro"]) == ("Success", USED)
    assert await wallet(http) == (CREDITS - USED, 0, USED)


async def test_a_run_over_mcp_is_charged_what_it_used(url: str, offered: World) -> None:
    async with connected(url, offered.alice) as client:
        quote = await call(client, "billing.get_quote", template="echo", billing="usage")
        assert quote["cap_micro"] == 2 * quote["high_micro"]
        done = await call(client, "bio_agent.run_task", **body(2, wait=True, max_credits=1.2))
        assert (done["status"], done["charged_micro"]) == ("Success", USED)
        failed = await refused(client, "bio_agent.run_task", **body(9, wait=True, max_credits=1.2))
        assert (failed["code"], failed["status"]) == ("credits_exhausted", "Failed")
        assert failed["charged_micro"] <= 1_200_000


async def test_a_cap_is_kept_and_the_error_says_what_to_do(
    http: httpx2.AsyncClient, offered: World
) -> None:
    made = await http.post("/v1/jobs", json=body(30, max_credits=2))
    done = await ended(http, made.json())
    assert (done["status"], done["error"]["code"]) == ("Failed", "credits_exhausted")
    assert "max_credits" in done["error"]["hint"]
    assert 1_600_000 <= done["charged_micro"] <= 2_000_000
    assert await wallet(http) == (CREDITS - done["charged_micro"], 0, done["charged_micro"])


@pytest.mark.parametrize(
    ("changes", "status", "code", "pointer"),
    [
        ({"billing": "outcome", "max_credits": 1}, 422, "invalid_input", "/max_credits"),
        ({"max_credits": "0.1"}, 422, "invalid_input", "/max_credits"),
        ({"max_credits": -1}, 422, "invalid_input", "/max_credits"),
        ({"max_credits": "0.0000001"}, 422, "invalid_input", "/max_credits"),
        ({"max_credits": "NaN"}, 422, "invalid_input", "/max_credits"),
        ({"max_credits": 1e300}, 422, "invalid_input", "/max_credits"),
        ({"billing": "free"}, 422, "invalid_input", "/billing"),
    ],
)
async def test_a_request_that_cannot_be_is_refused_and_holds_nothing(
    http: httpx2.AsyncClient,
    offered: World,
    changes: dict[str, Any],
    status: int,
    code: str,
    pointer: str,
) -> None:
    problem = assert_problem(await http.post("/v1/jobs", json=body(1, **changes)), status, code)
    assert problem["details"]["pointer"] == pointer
    assert await wallet(http) == (CREDITS, 0, 0)


async def test_a_tool_and_a_task_without_rates_are_not_offered(
    http: httpx2.AsyncClient, world: World
) -> None:
    tool = {"tool": "words.say", "arguments": {"word": "x"}, "billing": "usage"}
    problem = assert_problem(await http.post("/v1/jobs", json=tool), 422, "invalid_input")
    assert problem["details"]["pointer"] == "/billing"
    problem = assert_problem(await http.post("/v1/jobs", json=body(1)), 409, "price_unknown")
    assert problem["hint"]
    assert await wallet(http) == (CREDITS, 0, 0)


async def test_the_same_key_with_another_mode_is_another_request(
    http: httpx2.AsyncClient, offered: World
) -> None:
    headers = {"idempotency-key": "k"}
    first = await http.post("/v1/jobs", json=body(1), headers=headers)
    again = await http.post("/v1/jobs", json=body(1), headers=headers)
    other = await http.post("/v1/jobs", json=body(1, max_credits=3), headers=headers)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["job_id"] == first.json()["job_id"]
    assert_problem(other, 409, "idempotency_mismatch")
    assert (await ended(http, first.json()))["charged_micro"] == CALL + 4
