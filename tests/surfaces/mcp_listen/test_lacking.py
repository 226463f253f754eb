"""What a workflow's input lacks is asked for before there is a run, and costs nothing till then."""

from typing import Any

import pytest

from tests.books import assert_balanced
from tests.surfaces.flows import ECHOED
from tests.surfaces.mcp_tasks.raw import FORMS, KNOWS_TASKS, Raw, raw
from tests.surfaces.world import TOOL_PRICE, World

pytestmark = pytest.mark.anyio
NEEDY: dict[str, Any] = ECHOED | {
    "input_schema": {
        "type": "object",
        "properties": {"word": {"type": "string"}, "note": {"type": "string"}},
        "required": ["word"],
        "additionalProperties": False,
    }
}
RUN: dict[str, Any] = {"workflow": NEEDY, "input": {"note": "n"}}


async def answered(client: Raw, action: str, **content: Any) -> dict[str, Any]:
    response = {"action": action, "content": content}
    return await client.result(
        "tools/call", name="workflow.run", arguments=RUN, inputResponses={"input": response}
    )


async def test_what_lacks_is_asked_and_then_it_is_a_task(url: str, world: World) -> None:
    async with raw(url, world.alice, **FORMS, **KNOWS_TASKS) as client:
        asked = await client.call("workflow.run", **RUN)
        assert asked["resultType"] == "input_required"
        assert "taskId" not in asked
        (question,) = asked["inputRequests"].values()
        assert list(question["params"]["requestedSchema"]["properties"]) == ["word"]
        assert (await client.http.get("/v1/jobs")).json()["jobs"] == []
        made = await answered(client, "accept", word="a", note="not the caller's first word")
        assert made["resultType"] == "task"
        done = await client.until(made["taskId"], "completed")
        output = done["result"]["structuredContent"]["final_output"]
        assert (output, done["result"]["isError"]) == ({"output": "a!"}, False)
        assert done["result"]["structuredContent"]["charged_micro"] == 2 * TOOL_PRICE
    await assert_balanced(world.database)


async def test_who_cannot_or_does_not_answer_is_told_what_is_wrong(url: str, world: World) -> None:
    async with raw(url, world.alice) as client:
        refused = (await client.call("workflow.run", **RUN))["structuredContent"]
        assert refused["code"] == "invalid_input"
    async with raw(url, world.alice, **FORMS) as client:
        for action, content in (("decline", {}), ("accept", {}), ("accept", {"word": 7})):
            again = (await answered(client, action, **content))["structuredContent"]
            assert again["code"] == "invalid_input"
        wrong = {"workflow": NEEDY | {"nodes": {}}, "input": {}}
        told = (await client.call("workflow.run", **wrong))["structuredContent"]
        assert told["details"]["errors"][0]["pointer"] == "/nodes"
        assert (await client.http.get("/v1/jobs")).json()["jobs"] == []
