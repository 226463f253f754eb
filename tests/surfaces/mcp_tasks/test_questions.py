"""Runs that wait for a person, as tasks in the state `input_required`."""

import pytest

from tests.books import assert_balanced
from tests.surfaces.flows import flow, say
from tests.surfaces.mcp_tasks.raw import FORMS, KNOWS_TASKS, raw
from tests.surfaces.test_workflows_asking import ASKING
from tests.surfaces.world import World

pytestmark = pytest.mark.anyio
BOTH = KNOWS_TASKS | FORMS
TWO = flow(
    "${{ [steps.tell.output.said, steps.note.output] }}",
    note={"wait": {"approval": {"title": "A note?", "form": {"type": "string"}}}},
    ask={
        "wait": {
            "approval": {
                "title": "Which?",
                "form": {
                    "type": "object",
                    "required": ["name"],
                    "properties": {"name": {"enum": ["a", "b"], "type": "string"}},
                },
            }
        }
    },
    tell=say("${{ steps.ask.output.name }}"),
)


async def test_a_question_is_asked_and_answered(url: str, world: World) -> None:
    async with raw(url, world.alice, **BOTH) as client:
        task_id = (await client.call("workflow.run", workflow=ASKING, input="it"))["taskId"]
        asked = await client.until(task_id, "input_required")
        assert "Order it?" in asked["statusMessage"]
        assert asked["inputRequests"] == {
            "ask": {
                "method": "elicitation/create",
                "params": {
                    "mode": "form",
                    "message": "Order it?",
                    "requestedSchema": {
                        "type": "object",
                        "required": ["order"],
                        "properties": {"order": {"type": "boolean"}, "note": {"type": "string"}},
                    },
                },
            }
        }
        answer = {"action": "accept", "content": {"order": True}}
        given = {"taskId": task_id, "inputResponses": {"ask": answer, "nobody": answer}}
        done = await client.result("tasks/update", **given)
        assert {key for key in done if key != "_meta"} == {"resultType"}
        ended = await client.until(task_id, "completed")
        assert ended["result"]["structuredContent"]["final_output"] == {"output": "true"}
        # A repeated answer has nothing left to answer.
        assert (await client.result("tasks/update", **given))["resultType"] == "complete"
    await assert_balanced(world.database)


async def test_two_questions_one_by_one(url: str, world: World) -> None:
    async with raw(url, world.alice, **BOTH) as client:
        task_id = (await client.call("workflow.run", workflow=TWO))["taskId"]
        asked = await client.until(task_id, "input_required")
        while len(asked["inputRequests"]) < 2:
            asked = await client.result("tasks/get", taskId=task_id)
        field = asked["inputRequests"]["note"]["params"]["requestedSchema"]["properties"]
        assert field == {"answer": {"type": "string"}}
        answers = {"note": {"action": "accept", "content": {"answer": "soon"}}}
        await client.result("tasks/update", taskId=task_id, inputResponses=answers)
        left = await client.result("tasks/get", taskId=task_id)
        assert (left["status"], list(left["inputRequests"])) == ("input_required", ["ask"])
        answers = {"ask": {"action": "accept", "content": {"name": "b"}}}
        await client.result("tasks/update", taskId=task_id, inputResponses=answers)
        ended = await client.until(task_id, "completed")
        output = ended["result"]["structuredContent"]["final_output"]["output"]
        assert output == ["b", "soon"]


async def test_answers_that_do_not_fit(url: str, world: World) -> None:
    async with raw(url, world.alice, **BOTH) as client:
        task_id = (await client.call("workflow.run", workflow=ASKING, input="it"))["taskId"]
        await client.until(task_id, "input_required")
        for answer in (
            {"action": "accept", "content": {"order": "yes"}},
            {"action": "accept", "content": {}},
            {"action": "accept"},
            {"action": "accept", "content": []},
            {"action": "maybe"},
            {},
        ):
            error = await client.error(
                "tasks/update", taskId=task_id, inputResponses={"ask": answer}
            )
            assert (error["code"], error["data"]["code"]) == (-32602, "invalid_input"), answer
        # Who only closes the window is asked again.
        dismissed = {"ask": {"action": "cancel"}}
        await client.result("tasks/update", taskId=task_id, inputResponses=dismissed)
        assert (await client.result("tasks/get", taskId=task_id))["status"] == "input_required"
        declined = {"ask": {"action": "decline"}}
        await client.result("tasks/update", taskId=task_id, inputResponses=declined)
        await client.until(task_id, "cancelled")
    await assert_balanced(world.database)


async def test_a_client_without_forms_is_not_asked(url: str, world: World) -> None:
    async with raw(url, world.alice, **KNOWS_TASKS) as client:
        task_id = (await client.call("workflow.run", workflow=ASKING, input="it"))["taskId"]
        questions: list[object] = []
        while not questions:
            found = await client.call("workflow.questions")
            questions = found["structuredContent"]["questions"]
        shown = await client.result("tasks/get", taskId=task_id)
        assert (shown["status"], "inputRequests" in shown) == ("working", False)
        given = {"job_id": task_id, "step": "ask", "answer": {"order": False}}
        await client.call("workflow.answer", **given)
        await client.until(task_id, "completed")


async def test_another_user_cannot_answer(url: str, world: World) -> None:
    async with raw(url, world.alice, **BOTH) as client:
        task_id = (await client.call("workflow.run", workflow=ASKING, input="it"))["taskId"]
        await client.until(task_id, "input_required")
        async with raw(url, world.bob, **BOTH) as bob:
            answers = {"ask": {"action": "accept", "content": {"order": True}}}
            error = await bob.error("tasks/update", taskId=task_id, inputResponses=answers)
            assert error["data"]["code"] == "not_found"
        assert (await client.result("tasks/get", taskId=task_id))["status"] == "input_required"
