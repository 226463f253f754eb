"""Slow tools called directly: a job behind them, and a task for clients that know tasks."""

from pathlib import Path

import pytest

from app.kernel.principal import Scope
from app.kernel.settings import Settings
from tests.books import assert_balanced
from tests.surfaces.mcp_tasks.raw import KNOWS_TASKS, raw
from tests.surfaces.world import TOOL_PRICE, World, person

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
