"""Slow tools called directly: a job behind them, and a task for clients that know tasks."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.kernel.principal import SERVICE, Scope
from app.kernel.settings import Settings
from app.registry import Tool
from app.surfaces.mcp.longtasks import is_slow, support_of
from tests.books import assert_balanced
from tests.surfaces.mcp_tasks.raw import KNOWS_TASKS, raw
from tests.surfaces.test_mcp import call, connected
from tests.surfaces.world import DEFINITIONS, TOOL_PRICE, TOOLS, World, definition, person

pytestmark = pytest.mark.anyio


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The tests' tools have 120 seconds; by default tools have less, so these are slow."""
    return Settings(
        home=tmp_path / "home",
        poll_seconds=0.05,
        backoff_seconds=0.01,
        tool_timeout=60,
    )


async def test_one_that_takes_long_is_a_task(url: str, world: World) -> None:
    async with raw(url, world.alice, **KNOWS_TASKS) as client:
        made = await client.call("words.hang", word="a")
        assert (made["resultType"], made["status"]) == ("task", "working")
        job = (await client.http.get(f"/v1/jobs/{made['taskId']}")).json()
        assert (job["kind"], job["tool"], job["price_micro"]) == ("tool", "words.hang", TOOL_PRICE)
        await client.result("tasks/cancel", taskId=made["taskId"])
        assert (await client.until(made["taskId"], "cancelled"))["taskId"] == made["taskId"]
    await assert_balanced(world.database)


async def test_one_that_is_quick_answers_as_ever(url: str, world: World) -> None:
    async with raw(url, world.alice) as client:
        plain = await client.call("words.say", word="hi")
    async with raw(url, world.alice, **KNOWS_TASKS) as client:
        answer = await client.call("words.say", word="hi")
        if answer["resultType"] == "task":
            answer = (await client.until(answer["taskId"], "completed"))["result"]
        assert answer["structuredContent"] == plain["structuredContent"]
        assert answer["content"] == [{"type": "text", "text": '{"said":"hi"}'}]
        assert answer["_meta"]["uaol/charged_micro"] == TOOL_PRICE
        refused = await client.call("words.refuse", word="hi")
        if refused["resultType"] == "task":
            refused = (await client.until(refused["taskId"], "completed"))["result"]
        assert (refused["isError"], refused["structuredContent"]["code"]) == (
            True,
            "gene_not_found",
        )
        unfit = await client.call("words.say", word=5)
        assert unfit["structuredContent"]["code"] == "invalid_input"
    await assert_balanced(world.database)


async def test_a_key_that_may_not_have_jobs_calls_directly(url: str, world: World) -> None:
    only = await person(world.services, "tools@example.org", frozenset({Scope.TOOLS}))
    async with raw(url, only, **KNOWS_TASKS) as client:
        answer = await client.call("words.say", word="hi")
        assert answer["structuredContent"] == {"said": "hi"}


async def pinned(world: World, name: str, more: dict[str, Any]) -> None:
    """Have the tests' tools and one more, with what its server says of it."""
    one = replace(definition(name), more=more)
    async with world.database.begin(SERVICE) as uow:
        await world.services.registry.pin(uow, TOOLS, [*DEFINITIONS, one])
        await world.services.registry.refresh(uow)
        await world.services.billing.publish_price(uow, "tool", one.full_name, TOOL_PRICE)


@pytest.mark.parametrize(
    "more",
    [
        {"execution": {"taskSupport": "required"}},
        {"_meta": {"io.modelcontextprotocol/tasks": {"taskSupport": "required"}}},
    ],
)
async def test_one_whose_server_wants_tasks(url: str, world: World, more: dict[str, Any]) -> None:
    await pinned(world, "long", more)
    async with raw(url, world.alice, **KNOWS_TASKS) as client:
        made = await client.call("words.long", word="a")
        assert made["resultType"] == "task"
        done = await client.until(made["taskId"], "completed")
        assert done["result"]["structuredContent"] == {"said": "a"}
    async with raw(url, world.alice) as client:
        response = await client.post("tools/call", {"name": "words.long", "arguments": {}})
        assert (response.status_code, response.json()["error"]["code"]) == (400, -32021)
    async with connected(url, world.alice, "legacy") as legacy:
        # No wire before 2026-07-28 could carry the task.
        assert await call(legacy, "words.long", word="b") == {"said": "b"}
    await assert_balanced(world.database)


async def test_a_call_that_brings_answers_is_no_task(url: str, world: World) -> None:
    await pinned(world, "long", {"execution": {"taskSupport": "required"}})
    async with raw(url, world.alice, **KNOWS_TASKS) as client:
        answered = await client.result(
            "tools/call",
            name="words.long",
            arguments={"word": "a"},
            inputResponses={"who": {"action": "accept", "content": {}}},
        )
        assert answered["resultType"] == "complete"


async def test_one_whose_server_wants_none(url: str, world: World) -> None:
    await pinned(world, "short", {"execution": {"taskSupport": "forbidden"}})
    async with raw(url, world.alice, **KNOWS_TASKS) as client:
        assert (await client.call("words.short", word="a"))["resultType"] == "complete"
        jobs = (await client.http.get("/v1/jobs")).json()["jobs"]
        assert jobs == []


@pytest.mark.parametrize(
    "more",
    [{}, {"execution": 5}, {"execution": {"taskSupport": "maybe"}}, {"_meta": {"x": 1}}],
)
def test_what_servers_do_not_say_is_not_guessed(more: dict[str, Any]) -> None:
    given = replace(definition("a"), more=more)
    tool = Tool("words.a", "words", given, "Approved", False, 0, 120.0)
    assert support_of(tool) == "unsaid"
    assert is_slow(tool, Settings(tool_timeout=60))
    assert not is_slow(tool, Settings(tool_timeout=120))
