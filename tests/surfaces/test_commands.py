"""The commands of jobs, schedules and the queue against a server, as a person types them."""

import asyncio
import json
from typing import Any

import httpx2
import pytest
from click.testing import CliRunner

from app.cli import exit_code, main
from app.kernel.errors import AppError
from app.kernel.principal import USER_SCOPES, Scope
from tests.surfaces.test_queues import dead
from tests.surfaces.world import Person, World, person

pytestmark = pytest.mark.anyio


class Shell:
    """Runs commands of `uaol` in a thread of this process, with a server and a key."""

    def __init__(self, url: str, who: Person) -> None:
        self._env = {"UAOL_URL": url, "UAOL_API_KEY": who.key}

    async def run(self, *arguments: str, code: int = 0) -> str:
        result = await asyncio.to_thread(CliRunner().invoke, main, arguments, env=self._env)
        error = result.exception
        assert (exit_code(error) if isinstance(error, AppError) else result.exit_code) == code
        return f"{error.code}: {error}" if isinstance(error, AppError) else result.stdout

    async def json(self, *arguments: str) -> Any:
        return json.loads(await self.run(*arguments))


@pytest.fixture
async def shell(url: str, world: World) -> Shell:
    scopes = frozenset({*USER_SCOPES, Scope.ADMIN})
    return Shell(url, await person(world.services, "shell@example.org", scopes))


async def test_the_queue(shell: Shell) -> None:
    await shell.run("queue", "pause", "task", "--reason", "mending")
    assert "paused: mending" in await shell.run("queue", "show")
    await shell.run("queue", "resume", "task")
    found = await shell.json("queue", "show", "--json")
    assert {one["is_paused"] for one in found["queues"]} == {False}
    assert "not_found" in await shell.run("queue", "pause", "taks", code=4)


async def test_schedules(shell: Shell) -> None:
    job = ("--tool", "words.say", "--input", '{"word": "hi"}')
    made = await shell.run("schedules", "create", "hourly", "0 * * * *", *job)
    schedule = made.split()[0]
    assert "paused" in await shell.run("schedules", "pause", schedule)
    (listed,) = await shell.json("schedules", "list", "--json")
    assert (listed["schedule_id"], listed["is_paused"]) == (schedule, True)
    await shell.run("schedules", "resume", schedule)
    span = ("2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z")
    assert "2 moments" in await shell.run("schedules", "backfill", schedule, *span)
    shown = await shell.json("schedules", "show", schedule)
    assert len(shown["moments"]["moments"]) == 2
    assert len((await shell.run("schedules", "preview", "* * * * *")).split()) == 5
    assert "invalid_input" in await shell.run("schedules", "preview", "* * *", code=4)
    await shell.run("schedules", "delete", schedule)
    assert await shell.json("schedules", "list", "--json") == []
    await shell.run("schedules", "create", "a", "* * * * *", code=2)
    missing = ("schedules", "create", "b", "* * * * *", "--workflow", "unsaved")
    assert "not_found" in await shell.run(*missing, code=4)


async def test_dead_jobs(shell: Shell, http: httpx2.AsyncClient, url: str, world: World) -> None:
    mine = Shell(url, world.alice)
    (job,) = await dead(http)
    assert job in await mine.run("jobs", "dead")
    assert "goes on as" in await mine.run("jobs", "redrive", job)
    assert "nothing to redrive" in await shell.run("jobs", "redrive", "--all", "--cause", "x")
    await mine.run("jobs", "redrive", code=2)
    listed = await mine.json("jobs", "list", "--json", "--limit", "5")
    assert job in {one["job_id"] for one in listed}
    assert "not_found" in await shell.run("jobs", "redrive", job, code=4)
    assert "job_finished" in await mine.run("jobs", "cancel", job, code=4)
