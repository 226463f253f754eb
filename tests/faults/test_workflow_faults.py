"""Workers of workflows die, and their database fails, between every pair of statements.

A step that is stored is never run again or stored twice, whatever happens; the run has one end,
its trace has no gap and no double, and the books balance.
"""

import signal
from collections import Counter
from collections.abc import AsyncIterator
from itertools import cycle
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest

from app.billing import to_micro
from app.kernel.principal import SERVICE
from app.orchestration import JobView, workflow_job
from tests.books import assert_balanced
from tests.faults.conftest import LONG_LEASE_S, ended, expire, until
from tests.faults.crew import Crew, open_crew
from tests.faults.failpoints import FAULTS, Failpoints
from tests.faults.summary import SECONDS
from tests.faults.workflow_process import Orders, start
from tests.orchestration.workflow.running.harness import Tools, lines, told, working

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(240)]

QUICK = {"lease_seconds": 0.4, "poll_seconds": 0.03}
MOST = 200
# In the short form every third kill; `make faults` takes each.
STEP = 1 if SECONDS else 3


def _call(*after: str) -> dict[str, Any]:
    return {"tool": "crew.echo", "arguments": {}, "after": list(after)}


NODES = {
    "top": _call(),
    "left": _call("top"),
    "right": _call("top"),
    "join": _call("left", "right"),
    "tail": _call("join"),
}


@pytest.fixture
async def crew(dsn: str, home: Path) -> AsyncIterator[Crew]:
    async with open_crew(dsn, home, **QUICK) as made:
        made.diary.path.touch()
        yield made


async def submit(crew: Crew) -> JobView:
    body = workflow_job({"workflow": 1, "nodes": NODES}, {}, tool=str, template=str)
    return await crew.bench.submit(kind="workflow", definition=body)


async def steps(crew: Crew, job_id: UUID) -> dict[str, tuple[Any, ...]]:
    """The rows of a job's steps by path."""
    async with crew.bench.database.begin(SERVICE) as uow:
        rows = await uow.execute(
            "select path, output, attempt, started_at, ended_at, seq from app.job_steps"
            " where job_id = :job",
            {"job": job_id},
        )
        return {row.path: tuple(row)[1:] for row in rows}


def calls(crew: Crew, job_id: UUID) -> Counter[str]:
    """How often each step of a job was called, by any process."""
    prefix = f"{job_id}:step:"
    keys = [note["key"] for note in crew.diary.read() if note["event"] == "call"]
    return Counter(key.removeprefix(prefix)[:-2] for key in keys if key.startswith(prefix))


async def assert_whole(crew: Crew, job_id: UUID) -> None:
    """The job succeeded once, each of its steps is stored, told and metered once."""
    done = await crew.bench.view(job_id)
    assert (done.status, done.charged_micro) == ("Success", to_micro(2))
    assert set(await steps(crew, job_id)) == set(NODES)
    wanted = {(kind, path): 1 for kind in ("step.started", "step.finished") for path in NODES}
    assert await told(crew.bench, job_id) == wanted
    seqs = [line.seq for line in await lines(crew.bench, job_id)]
    assert seqs == list(range(1, len(seqs) + 1))
    await assert_balanced(crew.bench.database)


async def _until_dead_or_done(crew: Crew, process: BaseProcess, job: JobView) -> bool:
    """Whether the process died before it had ended the job."""

    async def is_over() -> bool:
        return process.exitcode is not None or await crew.is_idle()

    await until(is_over)
    if process.exitcode is None:
        # It may still die of a point behind the end.
        process.terminate()
    return await ended(process) == -signal.SIGKILL


@pytest.mark.parametrize("first", range(3))
async def test_killed_between_any_two_statements(crew: Crew, first: int) -> None:
    tools = cast(Tools, crew.bench.tools)
    for at in range(first, MOST, 3 * STEP):
        job = await submit(crew)
        # Its lease is long: it may pause and keeps it, and the test's decree ends it.
        settings = {**QUICK, "lease_seconds": LONG_LEASE_S}
        victim = start(Orders(crew.bench.database.dsn, crew.home, at, settings))
        crew.workers.append(victim)
        has_died = await _until_dead_or_done(crew, victim, job)
        await expire(crew.bench.database)
        kept, before = await steps(crew, job.job_id), calls(crew, job.job_id)
        async with working(crew.bench, tools, lease_seconds=LONG_LEASE_S):
            await crew.bench.until_ended(job.job_id)
        after, again = await steps(crew, job.job_id), calls(crew, job.job_id)
        assert {path: after[path] for path in kept} == kept
        assert all(again[path] == before[path] == 1 for path in kept)
        await assert_whole(crew, job.job_id)
        if not has_died:
            return
    raise AssertionError("a run has more points than that")


async def test_a_fault_between_any_two_statements(crew: Crew) -> None:
    tools, faults = cast(Tools, crew.bench.tools), cycle(FAULTS.values())
    for at in range(MOST):
        job = await submit(crew)
        points = Failpoints(crew.bench.database, at, next(faults))
        # A claim whose answer was lost waits for the lease; a pause is no reason to lose one.
        async with working(crew.bench, tools, transactions=points, lease_seconds=9.0):
            await crew.bench.until_ended(job.job_id)
        # Nothing was lost with the connection: what has ended is written by the next transaction.
        assert set(calls(crew, job.job_id).values()) == {1}
        await assert_whole(crew, job.job_id)
        if not points.has_fired:
            return
    raise AssertionError("a run has more points than that")
