"""Every attack that is one piece of code, over every executor that can run here."""

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

import pytest

from app.sandbox import Capabilities, TaskResult
from tests.sandbox.abuse.attacks import ROWS
from tests.sandbox.abuse.conftest import USUAL, Run
from tests.sandbox.abuse.host import Host, running, until
from tests.sandbox.abuse.matrix import DECLARED, HARMLESS, STOPPED, note
from tests.sandbox.abuse.prelude import Said, program, said
from tests.sandbox.abuse.rows import Row
from tests.sandbox.conftest import SMALL

pytestmark = pytest.mark.anyio

CODED = [row for row in ROWS if row.code]


def matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def outcome(row: Row, capabilities: Capabilities, came: Said) -> str:
    """What the attack came to; fails where it got what nobody allowed or declared."""
    done = came.done()
    beyond = {what for what in done if not matches(what, row.allowed)}
    if beyond:
        assert row.declared in capabilities.best_effort, f"{sorted(beyond)} succeeded"
        return DECLARED
    return HARMLESS if done else STOPPED


# What decides whether a worker that waits will do; without these limits one does.
_OF_A_ROOM = {"memory_bytes": SMALL.memory_bytes, "processes": SMALL.processes}


def cases() -> Iterator[Any]:
    """Each row in a sandbox of its own, and in one that waited, where its limits allow that."""
    for row in CODED:
        name = f"{row.number}-{row.name}"
        yield pytest.param(row, {**_OF_A_ROOM, **row.limits}, id=f"{name}-own")
        if not {"memory_bytes", "processes", "tmp_bytes"} & row.limits.keys():
            yield pytest.param(row, row.limits, id=f"{name}-waiting")


@pytest.mark.parametrize(("row", "limits"), [*cases()])
async def test_it_meets_its_wall(
    row: Row, limits: Mapping[str, float], run: Run, host: Host, capabilities: Capabilities
) -> None:
    await meet(row, limits, run, host, capabilities)


async def meet(
    row: Row, limits: Mapping[str, float], run: Run, host: Host, capabilities: Capabilities
) -> None:
    """Run the attack, see that it got no more than it may, and note what it came to."""
    code = program(row.code, {"mark": host.mark, **row.params(host)})
    result = await ended(row, run, code, limits)
    assert result.status in row.statuses, told(result)
    came = said(result.stdout)
    # silence is no proof: only a task that was ended may have told nothing
    assert came.tried or result.status != "ok", told(result)
    outcome_ = outcome(row, capabilities, came)
    if row.check and outcome_ is not DECLARED:
        row.check(result, came)
    await until(lambda: not running(host.mark))
    note(row.name, capabilities, outcome_)


async def ended(row: Row, run: Run, code: str, limits: Mapping[str, float]) -> TaskResult:
    """What came of the attack.

    One that has to tell something, and whose short time was over before it could, gets more: how
    soon it does so is up to the machine.
    """
    wall_s = limits.get("wall_s", USUAL.wall_s)
    while True:
        result = await run(code, **{**limits, "wall_s": wall_s})
        is_cut = row.check is not None and result.status == "timeout" and not result.stdout
        if not is_cut or wall_s > USUAL.wall_s / 4:
            return result
        wall_s *= 4


def told(result: TaskResult) -> str:
    return f"{result.status} {result.exit_code}\n{result.stdout[-2000:]}\n{result.stderr[-2000:]}"
