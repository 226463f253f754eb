"""The facade refuses rather than run anything on weaker walls."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.kernel.errors import AppError, Code
from app.kernel.telemetry import JsonFormatter
from app.sandbox import (
    Capabilities,
    Ended,
    Event,
    IsolationError,
    Limits,
    PooledExecutor,
    Sandbox,
    TaskResult,
    TaskSpec,
    make_executors,
)
from app.sandbox.executors.bubblewrap import BubblewrapBackend
from app.sandbox.executors.diagnosis import explain
from tests.sandbox.rooms import until

pytestmark = pytest.mark.anyio


class Scripted:
    """An executor that answers every task with one result, or cannot work at all."""

    def __init__(self, name: str, stdout: str, refusal: IsolationError | None = None) -> None:
        self.name = name
        self.stdout = stdout
        self.refusal = refusal
        self.ran: list[str] = []
        self.is_closed = False
        self.is_warm = False
        self.level = f"{name}-walls"

    async def capabilities(self) -> Capabilities:
        if self.refusal is not None:
            raise self.refusal
        return Capabilities(self.name, (), (), "3.11.7", {}, self.level)

    async def run(self, spec: TaskSpec) -> TaskResult:
        if self.refusal is not None:
            raise self.refusal
        self.ran.append(spec.task_id)
        return TaskResult("ok", 0, self.stdout, executor=self.name, level=self.level)

    async def stream(self, spec: TaskSpec) -> AsyncIterator[Event]:
        yield Ended(await self.run(spec))

    async def warm(self) -> None:
        self.is_warm = True

    async def cancel(self, task_id: str) -> None:
        self.ran.remove(task_id)

    async def close(self) -> None:
        self.is_closed = True


PASSING = "".join(
    f'["{name}", true, ""]\n' for name in ("env", "network", "root", "unshare", "fork")
)


async def test_the_first_executor_that_stands_is_taken() -> None:
    weak = Scripted("weak", PASSING.replace('"network", true', '"network", false'))
    strong = Scripted("strong", PASSING)
    sandbox = Sandbox([weak, strong])
    assert (await sandbox.start()).executor == "strong"
    assert (await sandbox.run(TaskSpec("t", "pass"))).executor == "strong"
    assert weak.is_closed
    assert weak.ran == ["self-test"]
    assert (weak.is_warm, strong.is_warm) == (False, True)
    await sandbox.close()
    with pytest.raises(AppError):
        await sandbox.run(TaskSpec("t", "pass"))


async def test_the_verdict_tells_the_level_and_what_was_passed_over() -> None:
    away = Scripted("docker", PASSING, IsolationError("There is no engine.", "Start one."))
    sandbox = Sandbox([away, Scripted("bubblewrap", PASSING)])
    status = await sandbox.start()
    assert (status.available, status.executor) == (True, "bubblewrap")
    assert status.level == "bubblewrap-walls"
    assert status.reason == "docker: There is no engine."
    assert sandbox.capabilities().level == status.level


async def test_where_none_stands_it_says_what_to_do() -> None:
    refusals = [
        IsolationError("There is no engine.", "Start Docker."),
        IsolationError("No namespaces.", "Allow them."),
    ]
    names = ["docker", "bubblewrap"]
    executors = [Scripted(n, PASSING, r) for n, r in zip(names, refusals, strict=True)]
    sandbox = Sandbox(executors)
    status = await sandbox.start()
    assert status.reason == "There is no engine. No namespaces."
    assert status.hint == "Start Docker. Allow them."
    with pytest.raises(AppError) as caught:
        await sandbox.run(TaskSpec("t", "pass"))
    assert caught.value.hint == status.hint
    assert all(executor.is_closed for executor in executors)


async def test_an_executor_that_breaks_later_is_not_replaced() -> None:
    first, second = Scripted("first", PASSING), Scripted("second", PASSING)
    sandbox = Sandbox([first, second])
    await sandbox.start()
    first.refusal = IsolationError("The engine is gone.", "Start it.")
    with pytest.raises(AppError) as caught:
        await sandbox.run(TaskSpec("t", "pass"))
    assert caught.value.code is Code.SANDBOX_UNAVAILABLE
    with pytest.raises(AppError):
        await anext(sandbox.stream(TaskSpec("t", "pass")))
    assert second.ran == []


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.sandbox.service._PAUSES_S", (0.0,))


AWAY = IsolationError("It is away.", "Start it.")


async def test_what_was_away_at_the_start_is_found_later(soon: None) -> None:
    first, second = Scripted("first", PASSING, AWAY), Scripted("second", PASSING, AWAY)
    sandbox = Sandbox([first, second])
    assert not (await sandbox.start()).available
    with pytest.raises(AppError) as caught:
        await sandbox.run(TaskSpec("t", "pass"))
    assert (caught.value.code, caught.value.hint) == (Code.SANDBOX_UNAVAILABLE, "Start it.")
    second.refusal = None
    await until(lambda: sandbox.status().available)
    assert (sandbox.status().executor, second.is_warm) == ("second", True)
    assert sandbox.status().reason == "first: It is away."
    assert (await sandbox.run(TaskSpec("t", "pass"))).executor == "second"
    await sandbox.close()


async def test_what_goes_away_later_is_told_and_found_again(soon: None) -> None:
    first, second = Scripted("first", PASSING), Scripted("second", PASSING)
    sandbox = Sandbox([first, second])
    await sandbox.start()
    first.refusal = AWAY
    with pytest.raises(AppError):
        await sandbox.run(TaskSpec("t", "pass"))
    await until(lambda: not sandbox.status().available)
    assert sandbox.status().hint == "Start it."
    assert not first.is_closed
    first.refusal = None
    await until(lambda: sandbox.status().available)
    assert (sandbox.status().executor, second.ran) == ("first", [])
    await sandbox.close()


@pytest.mark.parametrize("is_streamed", [False, True])
async def test_other_walls_than_before_are_told(soon: None, *, is_streamed: bool) -> None:
    executor = Scripted("daemon", PASSING)
    sandbox = Sandbox([Scripted("other", PASSING, AWAY), executor])
    await sandbox.start()
    executor.level = "weaker"
    if is_streamed:
        assert [event async for event in sandbox.stream(TaskSpec("t", "pass"))]
    else:
        await sandbox.run(TaskSpec("t", "pass"))
    await until(lambda: sandbox.status().level == "weaker")
    assert sandbox.capabilities().level == "weaker"
    assert sandbox.status().reason == "other: It is away."
    await sandbox.close()


def _testing() -> set[asyncio.Task[Any]]:
    return {task for task in asyncio.all_tasks() if task.get_name() == "sandbox-again"}


async def test_a_closed_sandbox_is_not_tested_again(soon: None) -> None:
    executor = Scripted("one", PASSING, AWAY)
    sandbox, of_others = Sandbox([executor]), asyncio.all_tasks()
    await sandbox.start()
    assert _testing() - of_others
    await sandbox.close()
    executor.refusal = None
    assert not _testing() - of_others
    assert not sandbox.status().available


@pytest.mark.parametrize("refusal", [None, AWAY])
async def test_what_ends_with_the_sandbox_does_not_wake_it(
    soon: None, monkeypatch: pytest.MonkeyPatch, refusal: IsolationError | None
) -> None:
    executor, begun, ended = Scripted("one", PASSING), asyncio.Event(), asyncio.Event()
    sandbox, of_others = Sandbox([executor]), asyncio.all_tasks()
    await sandbox.start()

    async def cut_off(_spec: TaskSpec) -> TaskResult:
        begun.set()
        await ended.wait()
        if refusal is not None:
            raise refusal
        return TaskResult("killed", level=executor.level)

    monkeypatch.setattr(executor, "run", cut_off)
    running = asyncio.create_task(sandbox.run(TaskSpec("t", "pass")))
    await begun.wait()
    await sandbox.close()
    ended.set()
    await asyncio.wait([running])
    assert (running.exception() is None) == (refusal is None)
    assert not _testing() - of_others


async def test_a_stream_ends_with_its_result() -> None:
    sandbox = Sandbox([Scripted("one", PASSING)])
    await sandbox.start()
    async with contextlib.aclosing(sandbox.stream(TaskSpec("t", "pass"))) as events:
        (last,) = [event async for event in events]
    assert isinstance(last, Ended)
    assert last.result.executor == "one"


class Shared:
    """Something that several executors use."""

    is_closed = False

    async def close(self) -> None:
        self.is_closed = True


async def test_what_executors_share_is_closed_with_them() -> None:
    shared = Shared()
    sandbox = Sandbox([Scripted("one", PASSING)], belongings=[shared])
    await sandbox.start()
    await sandbox.close()
    assert shared.is_closed


@pytest.mark.parametrize("name", ["", " x", "-x", "a/b", "x" * 101, "a\nb"])
async def test_a_session_has_a_plain_name(name: str) -> None:
    sandbox = Sandbox([Scripted("one", PASSING)])
    await sandbox.start()
    with pytest.raises(AppError) as caught:
        await sandbox.run(TaskSpec("t", "pass", session_id=name))
    assert caught.value.details == {"field": "session_id"}


async def test_requirements_are_names_before_anything_starts() -> None:
    executor = Scripted("one", PASSING)
    sandbox = Sandbox([executor])
    await sandbox.start()
    with pytest.raises(AppError) as caught:
        await sandbox.run(TaskSpec("t", "pass", requirements=("git+https://example.org/x",)))
    assert caught.value.code is Code.INVALID_INPUT
    assert executor.ran == ["self-test"]


@pytest.mark.parametrize("stdout", ["", "nonsense", PASSING.split("\n")[0], "[1]\n"])
async def test_a_self_test_must_answer_in_full(stdout: str) -> None:
    sandbox = Sandbox([Scripted("mute", stdout)])
    status = await sandbox.start()
    assert not status.available
    with pytest.raises(AppError) as caught:
        await sandbox.run(TaskSpec("t", "pass"))
    assert caught.value.code is Code.SANDBOX_UNAVAILABLE
    assert caught.value.hint


async def test_without_a_launcher_nothing_runs() -> None:
    for binary in (None, Path("/bin/false"), Path("/nonexistent/bwrap")):
        sandbox = Sandbox([PooledExecutor(BubblewrapBackend(binary))])
        status = await sandbox.start()
        assert (status.available, bool(status.reason)) == (False, True)
        with pytest.raises(AppError) as caught:
            await sandbox.run(TaskSpec("t", "print(1)"))
        assert caught.value.code is Code.SANDBOX_UNAVAILABLE
        # or it is tested again, with processes that the end of the test would cut off
        await sandbox.close()


async def test_it_must_be_started_first() -> None:
    with pytest.raises(AppError, match="not been started"):
        await Sandbox([Scripted("strong", PASSING)]).run(TaskSpec("t", "pass"))


def test_a_wall_time_only_shortens() -> None:
    sandbox = Sandbox([], Limits(wall_s=10))
    assert sandbox.new_limits(wall_s=5).wall_s == 5
    assert sandbox.new_limits(wall_s=50).wall_s == 10


def test_an_unknown_executor_is_a_bad_setting() -> None:
    with pytest.raises(AppError) as caught:
        make_executors("subprocess")
    assert caught.value.code is Code.CONFIG_INVALID


def test_auto_tries_docker_before_bubblewrap() -> None:
    names = list(dict.fromkeys(executor.name for executor in make_executors()))
    assert names == ["docker", "bubblewrap"]
    assert [executor.name for executor in make_executors("docker")] == ["docker"]


def test_the_launchers_complaint_becomes_advice() -> None:
    with pytest.raises(IsolationError) as caught:
        explain("bwrap: No permissions to create a new namespace, likely because ...\n")
    assert caught.value.hint
    explain("Traceback: the code's own trouble\n")


async def test_the_log_tells_which_walls_were_reached(caplog: pytest.LogCaptureFixture) -> None:
    sandbox = Sandbox([Scripted("one", PASSING)])
    with caplog.at_level("INFO", logger="app.sandbox.service"):
        await sandbox.start()
    told = json.loads(JsonFormatter().format(caplog.records[-1]))
    assert (told["executor"], told["walls"], told["level"]) == ("one", "one-walls", "INFO")
