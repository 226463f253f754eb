"""MCP over a real server with the SDK's own client, in both eras."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal
from uuid import uuid4

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from app.kernel.principal import Scope
from tests.books import assert_balanced
from tests.surfaces.test_http_errors import assert_problem
from tests.surfaces.world import TASK_PRICE, TOOL_PRICE, Person, World, person

pytestmark = pytest.mark.anyio
Era = Literal["auto", "legacy"]
OWN = [
    "bio_agent.list_templates",
    "bio_agent.run_task",
    "bio_agent.stream_trace",
    "bio_agent.cancel_task",
    "jobs.submit",
    "jobs.limits",
    "jobs.set_limit",
    "jobs.remove_limit",
    "jobs.limit_queue",
    "schedules.create",
    "schedules.list",
    "schedules.show",
    "schedules.change",
    "schedules.pause",
    "schedules.resume",
    "schedules.delete",
    "schedules.backfill",
    "schedules.preview",
    "dead_letters.list",
    "dead_letters.redrive",
    "webhooks.create",
    "webhooks.list",
    "webhooks.test",
    "webhooks.delete",
    "webhooks.deliveries",
    "secrets.set",
    "secrets.list",
    "secrets.delete",
    "workflow.check",
    "workflow.run",
    "workflow.steps",
    "workflow.replay",
    "workflow.fork",
    "workflow.questions",
    "workflow.answer",
    "workflow.list",
    "workflow.get",
    "workflow.save",
    "billing.get_quote",
    "billing.get_wallet",
    "registry.register_server",
    "registry.edit_server",
    "registry.submit",
    "registry.list_servers",
    "registry.show_server",
    "registry.diff",
    "registry.set_offer",
    "registry.deprecate",
    "registry.notices",
    "registry.find_tools",
]
WORDS = ["words.break", "words.free", "words.hang", "words.refuse", "words.say"]


@pytest.fixture(params=["auto", "legacy"])
def era(request: pytest.FixtureRequest) -> Era:
    chosen: Era = request.param
    return chosen


@asynccontextmanager
async def connected(url: str, who: Person, era: Era = "auto") -> AsyncIterator[Client]:
    async with httpx2.AsyncClient(headers=dict(who.headers), timeout=60) as http:
        transport = streamable_http_client(f"{url}/mcp", http_client=http)
        async with Client(transport, mode=era) as client:
            yield client


async def call(client: Client, name: str, /, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(name, arguments)
    assert not result.is_error, result.content
    return dict(result.structured_content)


async def own_resources(client: Client) -> list[str]:
    """The caller's resources; views are no data and everybody's."""
    uris = [str(one.uri) for one in (await client.list_resources()).resources]
    return [uri for uri in uris if not uri.startswith("ui://")]


async def refused(client: Client, name: str, /, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(name, arguments)
    assert result.is_error
    return dict(result.structured_content)


async def test_the_eras(url: str, world: World) -> None:
    async with connected(url, world.alice, "auto") as client:
        assert client.protocol_version == "2026-07-28"
    async with connected(url, world.alice, "legacy") as client:
        assert client.protocol_version == "2025-11-25"


async def test_the_list_is_the_callers(url: str, world: World, era: Era) -> None:
    async with connected(url, world.alice, era) as client:
        tools = (await client.list_tools()).tools
        assert [tool.name for tool in tools] == OWN + WORDS
        assert all(tool.input_schema["type"] == "object" for tool in tools)
    narrow = await person(world.services, "narrow@example.org", frozenset({Scope.BILLING}))
    async with connected(url, narrow, era) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        assert names == ["bio_agent.list_templates", "billing.get_quote", "billing.get_wallet"]
        assert (await refused(client, "words.say", word="x"))["code"] == "forbidden"
        error = await refused(client, "bio_agent.run_task", template="echo", input={"text": "a"})
        assert error["code"] == "forbidden"


async def test_a_task_that_is_waited_for(url: str, world: World, era: Era) -> None:
    told: list[str] = []

    async def progress(_done: float, _total: float | None, message: str | None) -> None:
        told.append(message or "")

    async with connected(url, world.alice, era) as client:
        quote = await call(client, "billing.get_quote", template="echo")
        assert quote["amount_micro"] == TASK_PRICE
        result = await client.call_tool(
            "bio_agent.run_task",
            {
                "template": "echo",
                "input": {"text": "hello", "record": {"text": "ACGT", "name": "a.fa"}},
                "wait": True,
            },
            progress_callback=progress,
        )
        job = result.structured_content
        assert (job["status"], job["charged_micro"]) == ("Success", TASK_PRICE)
        assert job["final_output"]["said"] == "hello"
        report = next(file for file in job["files"] if file["name"] == "report.md")
        async with httpx2.AsyncClient(timeout=60) as anyone:
            assert (await anyone.get(report["url"])).text == "# hello\n"
        contents = (await client.read_resource(report["uri"])).contents[0]
        assert contents.text == "# hello\n"
    assert "planner starts" in told
    assert "half (1/2)" in told
    await assert_balanced(world.database)


async def test_a_failed_task_is_an_error_with_its_code(url: str, world: World, era: Era) -> None:
    async with connected(url, world.alice, era) as client:
        failed = await refused(
            client, "bio_agent.run_task", template="echo", input={"text": "fail"}, wait=True
        )
        assert (failed["code"], failed["status"]) == ("check_failed", "Failed")
        assert failed["charged_micro"] == 0


async def test_the_trace_streams_and_resumes(url: str, world: World, era: Era) -> None:
    live: list[dict[str, Any]] = []

    async def progress(done: float, _total: float | None, message: str | None) -> None:
        event = json.loads(message or "")
        assert event["seq"] == done
        live.append(event)
        if event["kind"] == "progress":
            world.task.go.set()

    async with connected(url, world.alice, era) as client:
        job = await call(client, "bio_agent.run_task", template="echo", input={"text": "wait"})
        assert job["status"] in {"Queued", "Running"}
        first = await call(client, "bio_agent.stream_trace", job_id=job["job_id"], max_events=2)
        assert [event["seq"] for event in first["events"]] == [1, 2]
        assert (first["next_seq"], first["is_terminal"]) == (2, False)
        # The task goes on only once a progress notification has arrived here.
        result = await client.call_tool(
            "bio_agent.stream_trace",
            {"job_id": job["job_id"], "after_seq": 2},
            progress_callback=progress,
        )
        rest = result.structured_content
        assert rest["events"] == live
        assert (rest["events"][-1]["kind"], rest["status"]) == ("job.succeeded", "Success")
        assert rest["is_terminal"] is True
        again = await call(
            client, "bio_agent.stream_trace", job_id=job["job_id"], after_seq=2, wait=False
        )
        assert again["events"] == rest["events"]
        over = await call(
            client, "bio_agent.stream_trace", job_id=job["job_id"], after_seq=rest["next_seq"]
        )
        assert (over["events"], over["is_terminal"]) == ([], True)


async def test_waiting_has_an_end_and_the_run_goes_on(url: str, world: World, era: Era) -> None:
    async with connected(url, world.alice, era) as client:
        job = await call(
            client,
            "bio_agent.run_task",
            template="echo",
            input={"text": "wait"},
            wait=True,
            timeout_s=0.2,
        )
        assert job["is_terminal"] is False
        cancelled = await call(client, "bio_agent.cancel_task", job_id=job["job_id"])
        assert cancelled["job_id"] == job["job_id"]
        trace = await call(client, "bio_agent.stream_trace", job_id=job["job_id"])
        assert trace["events"][-1]["kind"] == "job.cancelled"
        error = await refused(client, "bio_agent.cancel_task", job_id=job["job_id"])
        assert error["code"] == "job_finished"


async def test_a_client_that_goes_away_does_not_stop_the_run(url: str, world: World) -> None:
    arguments = {"template": "echo", "input": {"text": "wait"}, "wait": True}

    async def impatient() -> None:
        async with connected(url, world.alice) as client:
            await client.call_tool("bio_agent.run_task", arguments)

    gone = asyncio.create_task(impatient())
    async with connected(url, world.alice) as client, asyncio.timeout(60):
        jobs: list[Any] = []
        while not jobs:
            async with httpx2.AsyncClient(headers=dict(world.alice.headers), timeout=60) as http:
                jobs = (await http.get(f"{url}/v1/jobs")).json()["jobs"]
        gone.cancel()
        await asyncio.wait({gone})
        world.task.go.set()
        trace = await call(client, "bio_agent.stream_trace", job_id=jobs[0]["job_id"])
        assert trace["events"][-1]["kind"] == "job.succeeded", trace


async def test_one_key_is_one_job_even_with_inline_files(url: str, world: World, era: Era) -> None:
    arguments = {
        "template": "echo",
        "input": {"text": "a", "more": [{"text": "ACGT", "name": "a.fa"}]},
        "idempotency_key": "k",
    }
    async with connected(url, world.alice, era) as client:
        first = await call(client, "bio_agent.run_task", **arguments)
        again = await call(client, "bio_agent.run_task", **arguments)
        assert first["job_id"] == again["job_id"]
        other = arguments | {"input": {"text": "b"}}
        error = await refused(client, "bio_agent.run_task", **other)
        assert error["code"] == "idempotency_mismatch"


async def test_registry_tools_are_charged(url: str, world: World, era: Era) -> None:
    async with connected(url, world.alice, era) as client:
        before = await call(client, "billing.get_wallet")
        result = await client.call_tool("words.say", {"word": "hi"})
        assert result.structured_content == {"said": "hi"}
        assert result.meta is not None
        assert result.meta["uaol/charged_micro"] == TOOL_PRICE
        after = await call(client, "billing.get_wallet")
        assert before["available_micro"] - after["available_micro"] == TOOL_PRICE
        assert (await refused(client, "words.refuse", word="hi"))["code"] == "gene_not_found"
        assert (await refused(client, "words.break", word="hi"))["code"] == "tool_server_down"
        assert await call(client, "billing.get_wallet") == after
    await assert_balanced(world.database)


async def test_errors_carry_the_codes_of_http(url: str, world: World, era: Era) -> None:
    run, trace = "bio_agent.run_task", "bio_agent.stream_trace"
    async with connected(url, world.alice, era) as client:
        for name, arguments, code in (
            (run, {"template": "none", "input": {}}, "template_unknown"),
            (run, {"template": "echo", "input": {"text": 5}}, "invalid_input"),
            (run, {"template": "echo", "input": {"text": "a", "b": 1}}, "unknown_field"),
            (run, {"template": "echo", "input": {"text": "a"}, "b": 1}, "unknown_field"),
            (run, {"template": "echo"}, "invalid_input"),
            (run, {"template": "echo", "input": {"text": "a\x00"}}, "invalid_input"),
            (
                run,
                {"template": "echo", "input": {"text": "a", "record": str(uuid4())}},
                "not_found",
            ),
            (trace, {"job_id": str(uuid4())}, "not_found"),
            (trace, {"job_id": "x"}, "invalid_input"),
            ("billing.get_quote", {}, "invalid_input"),
            ("billing.get_quote", {"tool": "no.such"}, "tool_unknown"),
        ):
            if code == "tool_unknown":
                continue
            assert (await refused(client, name, **arguments))["code"] == code, arguments


async def test_an_unknown_tool_is_a_protocol_error(url: str, world: World, era: Era) -> None:
    async with connected(url, world.alice, era) as client:
        with pytest.raises(MCPError) as caught:
            await client.call_tool("no.such", {})
    assert caught.value.code == -32602
    assert caught.value.data["code"] == "tool_unknown"


async def test_a_fault_of_ours_tells_no_cause(
    url: str, world: World, era: Era, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError("inner words")

    monkeypatch.setattr(world.services.billing, "wallet", broken)
    async with connected(url, world.alice, era) as client:
        result = await client.call_tool("billing.get_wallet", {})
    assert result.structured_content["code"] == "internal"
    assert result.structured_content["details"]["event_id"]
    assert "inner words" not in result.model_dump_json()


async def test_resources(url: str, world: World, era: Era) -> None:
    async with connected(url, world.alice, era) as client:
        job = await call(
            client, "bio_agent.run_task", template="echo", input={"text": "hello"}, wait=True
        )
        base = f"uaol://jobs/{job['job_id']}"
        listed = {str(item.uri): item for item in (await client.list_resources()).resources}
        assert set(listed) == {
            "ui://uaol/job",
            f"{base}/trace",
            f"{base}/files/report.md",
            f"{base}/files/raw%20data.bin",
        }
        assert listed[f"{base}/files/report.md"].size == len("# hello\n")
        binary = (await client.read_resource(f"{base}/files/raw%20data.bin")).contents[0]
        assert binary.blob == "AP8B"
        assert (await client.read_resource(f"{base}/report")).contents[0].text == "# hello\n"
        trace = json.loads((await client.read_resource(f"{base}/trace")).contents[0].text)
        assert trace[-1]["kind"] == "job.succeeded"
        templates = (await client.list_resource_templates()).resource_templates
        assert len(templates) == 8
        for missing in (
            f"{base}/files/none",
            f"{base}/x",
            "uaol://jobs/x/trace",
            "file:///etc/passwd",
        ):
            with pytest.raises(MCPError) as caught:
                await client.read_resource(missing)
            assert caught.value.data["code"] == "not_found"
            assert caught.value.code == (-32602 if era == "auto" else -32002)


async def test_the_gate(url: str, world: World) -> None:
    hello = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    accept = {"accept": "application/json, text/event-stream"}
    async with httpx2.AsyncClient(base_url=url, headers=accept, timeout=60) as client:
        nobody = await client.post("/mcp", json=hello)
        assert_problem(nobody, 401, "unauthenticated")
        assert nobody.headers["www-authenticate"].startswith("Bearer ")
        known = dict(world.alice.headers)
        rebound = await client.post("/mcp", json=hello, headers=known | {"host": "evil.example"})
        assert_problem(rebound, 421, "forbidden")
        foreign = await client.post(
            "/mcp", json=hello, headers=known | {"origin": "https://evil.example"}
        )
        assert_problem(foreign, 403, "forbidden")
        friend = await client.post(
            "/mcp", json=hello, headers=known | {"origin": "https://ui.example"}
        )
        assert friend.headers["content-type"] != "application/problem+json"
        big = await client.post(
            "/mcp", content=b"x" * 70_000, headers=known | {"content-type": "application/json"}
        )
        assert_problem(big, 413, "payload_too_large")


async def test_a_session_is_its_owners(url: str, world: World) -> None:
    begin = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {},
            "clientInfo": {"name": "t", "version": "0"},
        },
    }
    accept = {"accept": "application/json, text/event-stream"}
    async with httpx2.AsyncClient(base_url=url, headers=accept, timeout=60) as client:
        opened = await client.post("/mcp", json=begin, headers=dict(world.alice.headers))
        session = {"mcp-session-id": opened.headers["mcp-session-id"]}
        listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
        stolen = await client.post("/mcp", json=listing, headers=dict(world.bob.headers) | session)
        assert stolen.status_code == 404
