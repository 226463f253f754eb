"""Hints that come to nothing, since others have the jobs, must not make a worker fall silent."""

from collections.abc import Sequence
from uuid import UUID

import pytest

from app.kernel.ids import new_id
from app.orchestration.dispatch import DispatchState
from tests.dispatch.conftest import DEFINITION, NEVER_S, QUOTE
from tests.orchestration.conftest import Bench
from tests.orchestration.workflow.running import harness

pytestmark = pytest.mark.anyio


class Hints:
    """A dispatcher that holds some jobs of one kind, one to a claim, and wakes nobody."""

    def __init__(self, kind: str, ids: Sequence[UUID]) -> None:
        self.kind = kind
        self.ids = list(ids)

    async def run(self) -> None:
        """Everything was told before."""

    def take(self, kind: str, limit: int) -> Sequence[UUID]:
        return self.ids[: min(limit, 1)] if kind == self.kind else ()

    def done(self, ids: Sequence[UUID]) -> None:
        self.ids = [one for one in self.ids if one not in ids]

    def state(self) -> DispatchState:
        return DispatchState("hints", is_up=True)


async def test_a_call_behind_misses_is_made(bench: Bench) -> None:
    job = await bench.submit(kind="tool", definition=DEFINITION, price=QUOTE)
    hints = Hints("tool", [new_id(), new_id(), job.job_id])
    async with bench.working(dispatcher=hints, poll_seconds=NEVER_S):
        assert (await bench.until_ended(job.job_id)).status == "Success"


async def test_a_task_behind_misses_is_run(bench: Bench) -> None:
    job = await bench.submit()
    hints = Hints("task", [new_id(), new_id(), job.job_id])
    async with bench.working(dispatcher=hints, poll_seconds=NEVER_S):
        assert (await bench.until_ended(job.job_id)).status == "Success"


async def test_a_workflow_behind_misses_is_run(bench: Bench) -> None:
    tools = harness.Tools()
    job = await harness.submit(bench, {"a": harness.tool("a")})
    hints = Hints("workflow", [new_id(), new_id(), job.job_id])
    async with harness.working(bench, tools, dispatcher=hints, poll_seconds=NEVER_S):
        assert (await bench.until_ended(job.job_id)).status == "Success"
