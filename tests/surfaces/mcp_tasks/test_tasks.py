"""Runs as tasks: made, polled, ended, cancelled; each is a job and nothing besides."""

from datetime import datetime
from uuid import uuid4

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from app.sdk import websocket_client
from tests.books import assert_balanced
from tests.surfaces.mcp_tasks.extension import Following, cancel
from tests.surfaces.mcp_tasks.raw import KNOWS_TASKS, raw
from tests.surfaces.test_mcp import connected
from tests.surfaces.world import TASK_PRICE, World

pytestmark = pytest.mark.anyio
RUN = "bio_agent.run_task"


def echo(text: str) -> dict[str, object]:
    return {"template": "echo", "input": {"text": text}}


async def test_a_task_from_call_to_result(url: str, world: World) -> None:
    async with raw(url, world.alice, **KNOWS_TASKS) as client:
        made = await client.call(RUN, **echo("wait"))
        assert made["resultType"] == "task"
        assert made["status"] == "working"
        assert set(made) == {
            "resultType",
            "taskId",
            "status",
            "statusMessage",
            "createdAt",
            "lastUpdatedAt",
            "ttlMs",
            "pollIntervalMs",
            "_meta",
        }
        assert made["ttlMs"] is None
        assert made["pollIntervalMs"] > 0
        assert datetime.fromisoformat(made["createdAt"]).tzinfo is not None
        # The task is the job: any door shows it.
        job = (await client.http.get(f"/v1/jobs/{made['taskId']}")).json()
        assert (job["template"], job["is_terminal"]) == ("echo", False)
        world.task.go.set()
        done = await client.until(made["taskId"], "completed")
        assert done["resultType"] == "complete"
        result = done["result"]
        assert (result["isError"], result["structuredContent"]["status"]) == (False, "Success")
        assert result["structuredContent"]["charged_micro"] == TASK_PRICE
        names = {file["name"] for file in result["structuredContent"]["files"]}
        assert names == {"report.md", "raw data.bin"}
        assert datetime.fromisoformat(done["lastUpdatedAt"]) >= datetime.fromisoformat(
            made["createdAt"]
        )
    await assert_balanced(world.database)


async def test_a_run_that_fails_is_a_completed_task_with_an_error(url: str, world: World) -> None:
    async with raw(url, world.alice, **KNOWS_TASKS) as client:
        made = await client.call(RUN, **echo("fail"))
        done = await client.until(made["taskId"], "completed", "failed")
        assert (done["status"], done["result"]["isError"]) == ("completed", True)
        assert done["result"]["structuredContent"]["code"] == "check_failed"
        assert done["result"]["structuredContent"]["charged_micro"] == 0


async def test_a_client_without_the_extension_gets_what_it_always_got(
    url: str, world: World
) -> None:
    async with raw(url, world.alice) as client:
        made = await client.call(RUN, **echo("wait"))
        assert made["resultType"] == "complete"
        job_id = made["structuredContent"]["job_id"]
        error = await client.error("tasks/get", taskId=job_id)
        assert error["code"] == -32021
        assert (
            "io.modelcontextprotocol/tasks" in error["data"]["requiredCapabilities"]["extensions"]
        )
        response = await client.post("tasks/cancel", {"taskId": job_id})
        assert response.status_code == 400
    async with connected(url, world.alice, "legacy") as legacy:
        result = await legacy.call_tool(RUN, echo("wait"))
        assert result.structured_content["is_terminal"] is False


async def test_the_server_declares_it(url: str, world: World) -> None:
    async with raw(url, world.alice) as client:
        found = (await client.result("server/discover"))["capabilities"]["extensions"]
        assert found["io.modelcontextprotocol/tasks"] == {}
        assert "io.modelcontextprotocol/ui" in found
        for method in ("tasks/list", "tasks/result"):
            response = await client.post(method)
            assert (response.status_code, response.json()["error"]["code"]) == (404, -32601)


async def test_a_task_is_its_owners(url: str, world: World) -> None:
    async with raw(url, world.alice, **KNOWS_TASKS) as client:
        task_id = (await client.call(RUN, **echo("wait")))["taskId"]
    async with raw(url, world.bob, **KNOWS_TASKS) as client:
        refusals = []
        for stranger in (task_id, str(uuid4()), "x", "x" * 10_000, "\x00"):
            for method, more in (
                ("tasks/get", {}),
                ("tasks/cancel", {}),
                ("tasks/update", {"inputResponses": {"a": {"action": "accept"}}}),
            ):
                response = await client.post(
                    method, {"taskId": stranger, **more}, {"mcp-name": encoded(stranger)}
                )
                refusals.append(response.json()["error"])
        # Nothing tells a task of another's from one that never was.
        assert all(one == refusals[0] for one in refusals)
        assert (refusals[0]["code"], refusals[0]["data"]["code"]) == (-32602, "not_found")
    async with raw(url, world.alice, **KNOWS_TASKS) as client:
        assert (await client.result("tasks/get", taskId=task_id))["status"] == "working"
        world.task.go.set()
        await client.until(task_id, "completed")


def encoded(value: str) -> str:
    """A header value as the specification wants those that are no plain text."""
    from mcp.shared.inbound import encode_header_value

    return encode_header_value(value)


async def test_cancel(url: str, world: World) -> None:
    async with raw(url, world.alice, **KNOWS_TASKS) as client:
        task_id = (await client.call(RUN, **echo("wait")))["taskId"]
        answer = await client.result("tasks/cancel", taskId=task_id)
        assert {key for key in answer if key != "_meta"} == {"resultType"}
        done = await client.until(task_id, "cancelled")
        assert not {"result", "error", "inputRequests"} & set(done)
        again = await client.result("tasks/cancel", taskId=task_id)
        assert {key for key in again if key != "_meta"} == {"resultType"}
    await assert_balanced(world.database)


async def test_the_header_must_name_the_task(url: str, world: World) -> None:
    async with raw(url, world.alice, **KNOWS_TASKS) as client:
        task_id = (await client.call(RUN, **echo("a")))["taskId"]
        for name in (None, str(uuid4()), task_id.upper()):
            response = await client.post("tasks/get", {"taskId": task_id}, {"mcp-name": name})
            assert (response.status_code, response.json()["error"]["code"]) == (400, -32020)


async def test_bad_parameters(url: str, world: World) -> None:
    async with raw(url, world.alice, **KNOWS_TASKS) as client:
        for method, params in (
            ("tasks/get", {}),
            ("tasks/get", {"taskId": 5}),
            ("tasks/update", {"taskId": str(uuid4())}),
            ("tasks/update", {"taskId": str(uuid4()), "inputResponses": []}),
            ("tasks/update", {"taskId": str(uuid4()), "inputResponses": {"a": 5}}),
        ):
            response = await client.post(method, params, {"mcp-name": "x"})
            assert (response.status_code, response.json()["error"]["code"]) == (400, -32602)


async def test_an_ended_job_answers_at_once(url: str, world: World) -> None:
    again = {**echo("a"), "idempotency_key": "k"}
    async with raw(url, world.alice, **KNOWS_TASKS) as client:
        first = await client.call(RUN, **again)
        task_id = first.get("taskId") or first["structuredContent"]["job_id"]
        await client.until(task_id, "completed")
        second = await client.call(RUN, **again)
        assert second["resultType"] == "complete"
        assert second["structuredContent"]["job_id"] == task_id


async def test_refusals_come_before_any_task(url: str, world: World) -> None:
    async with raw(url, world.alice, **KNOWS_TASKS) as client:
        for arguments, code in (
            ({"template": "none", "input": {}}, "template_unknown"),
            ({"template": "echo", "input": {"text": 1}}, "invalid_input"),
        ):
            refused = await client.call(RUN, **arguments)
            assert (refused["resultType"], refused["isError"]) == ("complete", True)
            assert refused["structuredContent"]["code"] == code
    await assert_balanced(world.database)


async def test_the_sdks_client_follows_a_task(url: str, world: World) -> None:
    # The run goes on only once its task is being followed.
    following = Following(world.task.go.set)
    async with httpx2.AsyncClient(headers=dict(world.alice.headers), timeout=60) as http:
        transport = streamable_http_client(f"{url}/mcp", http_client=http)
        async with Client(transport, extensions=[following]) as client:
            result = await client.call_tool(RUN, echo("wait"))
            assert result.structured_content["final_output"] == {"said": "wait"}
            world.task.go.clear()
            waiting = await client.session.call_tool(RUN, echo("wait"), allow_claimed=True)
            await cancel(client, waiting.task_id)
    assert [made.task_id for made in following.created] == [result.structured_content["job_id"]]


async def test_tasks_over_a_websocket(url: str, world: World) -> None:
    # The run goes on only once its task is being followed.
    following = Following(world.task.go.set)
    transport = websocket_client(f"{url.replace('http', 'ws')}/ws", world.alice.headers)
    async with Client(transport, extensions=[following]) as client:
        result = await client.call_tool(RUN, echo("wait"))
        assert result.structured_content["final_output"] == {"said": "wait"}
        world.task.go.clear()
        waiting = await client.session.call_tool(RUN, echo("wait"), allow_claimed=True)
        await cancel(client, waiting.task_id)


async def test_a_task_outlives_the_stream_that_made_it(url: str, world: World) -> None:
    async with raw(url, world.alice, **KNOWS_TASKS) as client:
        task_id = (await client.call(RUN, **echo("wait")))["taskId"]
    world.task.go.set()
    async with raw(url, world.alice, **KNOWS_TASKS) as client:
        done = await client.until(task_id, "completed")
        assert done["result"]["structuredContent"]["final_output"] == {"said": "wait"}
