"""The facade refuses rather than run anything on weaker walls."""

from pathlib import Path

import pytest

from app.kernel.errors import AppError, Code
from app.sandbox import (
    Capabilities,
    IsolationError,
    Limits,
    Sandbox,
    TaskResult,
    TaskSpec,
    make_executors,
)
from app.sandbox.executors.bubblewrap import BubblewrapExecutor
from app.sandbox.executors.diagnosis import explain

pytestmark = pytest.mark.anyio


class Scripted:
    """An executor that answers every task with one result."""

    def __init__(self, name: str, stdout: str) -> None:
        self.name = name
        self.stdout = stdout
        self.ran: list[str] = []
        self.is_closed = False

    async def capabilities(self) -> Capabilities:
        return Capabilities(self.name, (), (), "3.11.7", {})

    async def run(self, spec: TaskSpec) -> TaskResult:
        self.ran.append(spec.task_id)
        return TaskResult("ok", 0, self.stdout, executor=self.name)

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
    await sandbox.close()
    with pytest.raises(AppError):
        await sandbox.run(TaskSpec("t", "pass"))


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
        sandbox = Sandbox([BubblewrapExecutor(binary)])
        status = await sandbox.start()
        assert (status.available, bool(status.reason)) == (False, True)
        with pytest.raises(AppError) as caught:
            await sandbox.run(TaskSpec("t", "print(1)"))
        assert caught.value.code is Code.SANDBOX_UNAVAILABLE


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


def test_the_launchers_complaint_becomes_advice() -> None:
    with pytest.raises(IsolationError) as caught:
        explain("bwrap: No permissions to create a new namespace, likely because ...\n")
    assert caught.value.hint
    explain("Traceback: the code's own trouble\n")
