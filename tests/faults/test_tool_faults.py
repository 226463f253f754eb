"""A tool server dies, hangs, floods, babbles, lies or changes under a job that uses it."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from app.kernel.principal import SERVICE
from app.kernel.settings import Settings
from app.registry import load_config
from tests.books import assert_balanced
from tests.faults.conftest import Platform, new_user, until
from tests.faults.tiny import PRICE
from tests.faults.worker_process import open_services, settings_of
from tests.proxy.harness import SERVERS

pytestmark = pytest.mark.anyio

CONFIG = f"""
mcp_servers:
  odd:
    command: [python, {SERVERS}/odd.py]
    timeout: TIMEOUT
  changing:
    command: [python, {SERVERS}/changing.py]
    env: {{DESCRIPTION: "HOME/description"}}
"""


@pytest.fixture
def timeout() -> int:
    """When a call of `odd` is given up; only the test of that can do with a short one."""
    return 100


@pytest.fixture
async def tooled(dsn: str, home: Path, timeout: int) -> AsyncIterator[Platform]:
    """A platform with two tool servers that misbehave on demand, read from a file."""
    (home / "description").write_text("Runs.")
    config = home / "mcp_config.yaml"
    config.write_text(CONFIG.replace("HOME", str(home)).replace("TIMEOUT", str(timeout)))
    changes = {"backoff_seconds": 0.1, "tool_output_limit": 1_000_000, "mcp_config": config}
    settings = Settings(**settings_of(dsn, home, **changes))
    async with open_services(settings, dsn, load_config(config).servers) as services:
        platform = Platform(services, dsn, home, await new_user(services))
        yield platform
        await assert_balanced(services.database)


async def restarts(platform: Platform, server: str) -> int:
    health = {item.name: item for item in platform.services.proxy.health()}
    return health[server].restarts


async def until_restarted(platform: Platform, server: str, before: int) -> None:
    async def is_back() -> bool:
        health = {item.name: item for item in platform.services.proxy.health()}
        return health[server].is_up and health[server].restarts > before

    await until(is_back)


async def codes(platform: Platform, job_id: object) -> list[str]:
    """The codes of the tool calls that failed."""
    query = """
    select data->'error'->>'code' from app.job_events
    where job_id = :job and kind = :kind order by seq
    """
    return [row[0] for row in await platform.rows(query, job=job_id, kind="tool.failed")]


@pytest.mark.parametrize(
    ("tool", "code", "timeout"),
    [("odd.die", "tool_server_down", 100), ("odd.hang", "tool_timeout", 1)],
)
async def test_a_server_that_dies_or_hangs_costs_the_job_a_try(
    tooled: Platform, tool: str, code: str
) -> None:
    before = await restarts(tooled, "odd")
    async with tooled.working():
        job = await tooled.submit(tools=[tool, "odd.echo"])
        await tooled.until_ended(job.job_id)
        await until_restarted(tooled, "odd", before)
    first, *later = await codes(tooled, job.job_id)
    assert first == code
    # Tries that come while the server is still being ended or started are lost as well.
    assert set(later) <= {"tool_server_down", "tool_timeout"}
    await tooled.assert_ended_once(job.job_id, "Success", PRICE)
    coder = ["coder"] * (2 + len(later))
    steps = ["planner", "retriever", *coder, "evaluator", "reporter"]
    assert tooled.tiny.steps(job.job_id) == steps
    await tooled.assert_wallet(PRICE)
    # Only the call that was answered is metered.
    usage = "select subject from app.usage_event where job_id = :job"
    assert await tooled.rows(usage, job=job.job_id) == [("odd.echo",)]


async def test_a_server_that_always_dies_ends_the_job_dead_and_free(tooled: Platform) -> None:
    async with tooled.working(max_attempts=3):
        job = await tooled.submit(tools=["odd.die"])
        dead = await tooled.until_ended(job.job_id)
        assert dead.error is not None
        assert dead.error["details"]["cause"]["code"] == "tool_server_down"
        await tooled.assert_ended_once(job.job_id, "Dead", 0)
    assert await codes(tooled, job.job_id) == ["tool_server_down"] * 3
    async with tooled.working():
        await _a_later_job_succeeds(tooled)


@pytest.mark.parametrize(
    ("tool", "code", "is_restarted"),
    [
        ("odd.flood", "tool_output_too_large", True),
        ("odd.babble", "tool_protocol_error", True),
        ("odd.lie", "tool_protocol_error", False),
    ],
)
async def test_a_server_that_floods_or_talks_nonsense_fails_the_job_at_once(
    tooled: Platform, tool: str, code: str, is_restarted: bool
) -> None:
    before = await restarts(tooled, "odd")
    async with tooled.working():
        job = await tooled.submit(tools=[tool])
        failed = await tooled.until_ended(job.job_id)
        assert failed.error is not None
        assert failed.error["code"] == code
        await tooled.assert_ended_once(job.job_id, "Failed", 0)
        if is_restarted:
            await until_restarted(tooled, "odd", before)
        await _a_later_job_succeeds(tooled)
    assert await codes(tooled, job.job_id) == [code]
    assert (await restarts(tooled, "odd") > before) is is_restarted


async def test_a_tool_that_changed_is_not_called_until_it_is_approved(tooled: Platform) -> None:
    registry, database = tooled.services.registry, tooled.services.database
    before = await restarts(tooled, "changing")
    async with tooled.working():
        first = await tooled.submit(tools=["changing.run"])
        assert (await tooled.until_ended(first.job_id)).status == "Success"
        (tooled.home / "description").write_text("Sends your files away.")
        await _end_server(tooled, "changing")
        await until_restarted(tooled, "changing", before)
        second = await tooled.submit(tools=["changing.run"])
        failed = await tooled.until_ended(second.job_id)
        assert failed.error is not None
        assert failed.error["code"] == "tool_definition_changed"
        await tooled.assert_ended_once(second.job_id, "Failed", 0)
        async with database.begin(SERVICE) as uow:
            await registry.approve(uow, "changing.run")
            await registry.refresh(uow)
        third = await tooled.submit(tools=["changing.run"])
        await tooled.until_ended(third.job_id)
    await tooled.assert_ended_once(third.job_id, "Success", PRICE)
    await tooled.assert_wallet(2 * PRICE)


async def _end_server(platform: Platform, name: str) -> None:
    """Kill the server's process from outside."""
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if f"{name}.py" in " ".join(child.cmdline()):
                found.append(child)
    (server,) = found
    server.kill()


async def _a_later_job_succeeds(platform: Platform) -> None:
    later = await platform.submit(tools=["odd.echo"])
    await platform.until_ended(later.job_id)
    await platform.assert_ended_once(later.job_id, "Success", PRICE)
    await platform.assert_wallet(PRICE)
