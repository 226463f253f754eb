"""Runs that ask a person: listed, answered once with what the form wants, then going on."""

import asyncio
from typing import Any

import httpx2
import pytest

from tests.books import assert_balanced
from tests.surfaces.flows import flow, say, start, states, steps
from tests.surfaces.test_http_errors import assert_problem
from tests.surfaces.test_http_jobs import ended
from tests.surfaces.world import TOOL_PRICE, World

pytestmark = pytest.mark.anyio
FORM = {
    "type": "object",
    "required": ["order"],
    "additionalProperties": False,
    "properties": {"order": {"type": "boolean"}, "note": {"type": "string"}},
}
ASKING = flow(
    "${{ steps.tell.output.said }}",
    a=say("a"),
    ask={"wait": {"approval": {"title": "Order ${{ input }}?", "form": FORM}}, "after": ["a"]},
    tell=say("${{ to_string(steps.ask.output.order) }}"),
)


async def asked(http: httpx2.AsyncClient, job: Any) -> dict[str, Any]:
    """The question of a run, once it is asked."""
    async with asyncio.timeout(60):
        while True:
            query = {"job_id": job["job_id"]}
            answer = (await http.get("/v1/workflows/questions", params=query)).json()
            if answer["questions"]:
                return dict(answer["questions"][0])
            await asyncio.sleep(0.01)


async def test_a_question_and_its_answer(http: httpx2.AsyncClient, world: World) -> None:
    job = await start(http, ASKING, "oligos")
    assert job["price_micro"] == 2 * TOOL_PRICE
    question = await asked(http, job)
    assert (question["path"], question["title"]) == ("ask", "Order oligos?")
    assert (question["form"], question["answered_at"]) == (FORM, None)
    found = await steps(http, job)
    assert states(found) == {"a": "Success", "ask": "Waiting", "tell": "Pending"}
    assert found["ask"]["waits_for"] == {"title": "Order oligos?"}
    url = f"/v1/jobs/{job['job_id']}/answers"
    for answer, code, where in (
        ({"order": "yes"}, "invalid_input", "/order"),
        ({"order": True, "colour": 1}, "unknown_field", "/colour"),
        ({}, "invalid_input", ""),
    ):
        response = await http.post(url, json={"step": "ask", "answer": answer})
        problem = assert_problem(response, 422, code)
        assert problem["details"]["pointer"] == where
    # A question calls its step `path`, as all lists of steps do: both words are understood.
    given = {"path": "ask", "answer": {"order": True}}
    assert_problem(await http.post(url, json={**given, "path": "tell"}), 404, "not_found")
    bob = dict(world.bob.headers)
    assert_problem(await http.post(url, json=given, headers=bob), 404, "not_found")
    assert (await http.get("/v1/workflows/questions", headers=bob)).json() == {"questions": []}
    taken = (await http.post(url, json=given)).json()
    assert (taken["answer"], taken["answered_at"] is None) == ({"order": True}, False)
    done = await ended(http, job)
    assert done["final_output"] == {"output": "true"}
    assert done["charged_micro"] == 2 * TOOL_PRICE
    response = await http.post(url, json=given)
    assert response.status_code == 409
    assert (await http.get("/v1/workflows/questions")).json() == {"questions": []}
    await assert_balanced(world.database)


async def test_an_answer_is_kept_by_a_replay(http: httpx2.AsyncClient) -> None:
    job = await start(http, ASKING, "x")
    await asked(http, job)
    given = {"step": "ask", "answer": {"order": False}}
    await http.post(f"/v1/jobs/{job['job_id']}/answers", json=given)
    done = await ended(http, job)
    body = {"from_step": "tell"}
    again = (await http.post(f"/v1/jobs/{job['job_id']}/replay", json=body)).json()
    repeated = await ended(http, again)
    assert repeated["final_output"] == done["final_output"] == {"output": "false"}
    body = {"from_step": "ask"}
    third = (await http.post(f"/v1/jobs/{job['job_id']}/replay", json=body)).json()
    await asked(http, third)
    await http.post(
        f"/v1/jobs/{third['job_id']}/answers", json={**given, "answer": {"order": True}}
    )
    assert (await ended(http, third))["final_output"] == {"output": "true"}


async def test_a_run_that_waits_can_be_cancelled(http: httpx2.AsyncClient, world: World) -> None:
    job = await start(http, ASKING, "x")
    await asked(http, job)
    await http.post(f"/v1/jobs/{job['job_id']}/cancel")
    done = await ended(http, job)
    assert (done["status"], done["charged_micro"]) == ("Cancelled", 0)
    given = {"step": "ask", "answer": {"order": True}}
    response = await http.post(f"/v1/jobs/{job['job_id']}/answers", json=given)
    assert_problem(response, 409, "job_finished")
    assert (await http.get("/v1/workflows/questions")).json() == {"questions": []}
    await assert_balanced(world.database)
