"""Workflows over MCP, in both eras: the same rules and shapes as over HTTP."""

import json

import pytest

from tests.books import assert_balanced
from tests.surfaces.flows import ECHOED, flow, say
from tests.surfaces.test_mcp import Era, call, connected, era, refused
from tests.surfaces.test_workflows_asking import ASKING
from tests.surfaces.world import TOOL_PRICE, World

__all__ = ["era"]
pytestmark = pytest.mark.anyio


async def test_check_run_and_look(url: str, world: World, era: Era) -> None:
    async with connected(url, world.alice, era) as client:
        wrong = await call(client, "workflow.check", workflow=flow(a={"tool": "words.sey"}))
        assert not wrong["is_valid"]
        assert wrong["mistakes"][0]["pointer"] == "/nodes/a/tool"
        priced = await call(client, "workflow.check", workflow=ECHOED, input={"word": "a"})
        assert (priced["is_valid"], priced["amount_micro"]) == (True, 2 * TOOL_PRICE)
        job = await call(client, "workflow.run", workflow=ECHOED, input={"word": "a"}, wait=True)
        assert (job["status"], job["final_output"]) == ("Success", {"output": "a!"})
        found = await call(client, "workflow.steps", job_id=job["job_id"])
        assert [step["state"] for step in found["steps"]] == ["Success", "Success"]
        read = await client.read_resource(f"uaol://jobs/{job['job_id']}/steps")
        assert json.loads(read.contents[0].text) == found  # type: ignore[union-attr]
        schema = await client.read_resource("uaol://workflows/schema")
        assert json.loads(schema.contents[0].text)["title"].startswith("Workflow")  # type: ignore[union-attr]
        bad = await refused(client, "workflow.run", workflow=flow(a={"tool": "words.sey"}))
        assert bad["details"]["errors"][0]["code"] == "tool_unknown"
        failing = flow(a=say("x", tool="words.refuse"))
        failed = await refused(client, "workflow.run", workflow=failing, wait=True)
        assert (failed["code"], failed["charged_micro"]) == ("gene_not_found", 0)
    await assert_balanced(world.database)


async def test_repeat_and_save(url: str, world: World, era: Era) -> None:
    async with connected(url, world.alice, era) as client:
        saved = await call(client, "workflow.save", name="mine", definition=ECHOED)
        assert (saved["name"], saved["version"]) == ("mine", 1)
        listed = await call(client, "workflow.list")
        assert [one["name"] for one in listed["workflows"]] == ["mine"]
        assert (await call(client, "workflow.get", name="mine"))["definition"] == ECHOED
        run = {"workflow": "mine", "input": {"word": "a"}, "wait": True, "idempotency_key": "k"}
        job = await call(client, "workflow.run", **run)
        assert (await call(client, "workflow.run", **run))["job_id"] == job["job_id"]
        replayed = await call(client, "workflow.replay", job_id=job["job_id"], from_step="second")
        assert replayed["price_micro"] == TOOL_PRICE
        forked = await call(client, "workflow.fork", job_id=job["job_id"], input={"word": "b"})
        assert forked["workflow"]["forked_from"] == job["job_id"]
        for made in (replayed, forked):
            await call(client, "bio_agent.stream_trace", job_id=made["job_id"])
    async with connected(url, world.bob, era) as client:
        assert (await refused(client, "workflow.get", name="mine"))["code"] == "not_found"
        gone = await refused(client, "workflow.replay", job_id=job["job_id"], from_step="second")
        assert gone["code"] == "not_found"
    await assert_balanced(world.database)


async def test_a_question(url: str, world: World, era: Era) -> None:
    async with connected(url, world.alice, era) as client:
        job = await call(client, "workflow.run", workflow=ASKING, input="it")
        questions: list[dict[str, object]] = []
        while not questions:
            questions = (await call(client, "workflow.questions"))["questions"]
        assert questions[0]["title"] == "Order it?"
        given = {"job_id": job["job_id"], "step": "ask", "answer": {"order": True}}
        assert (await call(client, "workflow.answer", **given))["answer"] == {"order": True}
        trace = await call(client, "bio_agent.stream_trace", job_id=job["job_id"])
        assert trace["events"][-1]["kind"] == "job.succeeded"
        assert (await refused(client, "workflow.answer", **given))["code"] in {
            "conflict",
            "job_finished",
        }
