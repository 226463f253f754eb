"""A cancel that meets a claim, a completion, a retry or a burial: one end, one settlement."""

import asyncio
import contextlib
import random
from collections import Counter
from uuid import UUID

import pytest

from app.billing import Quote
from app.kernel.errors import AppError, Code
from app.kernel.principal import SERVICE
from app.orchestration import Intake, JobContext, Outcome, Submitted
from app.proxy import ToolCall, ToolResult
from tests.faults.conftest import until
from tests.faults.summary import SECONDS, record
from tests.orchestration.conftest import Bench, ScriptedTools, bench

__all__ = ["bench"]
pytestmark = [pytest.mark.anyio, pytest.mark.timeout(300)]

SEED = 20250312
RACES = 3000 if SECONDS else 240
PRICE = Quote("tool", "a.b", "outcome", 1000, 1)
ENDS = ("Success", "Failed", "Cancelled", "Dead")
# What owners are told when their cancels come before, during and after the run.
MOMENTS = {"Cancelled", "Running", "job_finished"}


class FickleTools(ScriptedTools):
    """Tools that answer, refuse or are down, after a moment, as a seed says."""

    def __init__(self) -> None:
        super().__init__()
        self.chance = random.Random(SEED)

    async def call(self, call: ToolCall) -> ToolResult:
        for _ in range(self.chance.randrange(4)):
            await asyncio.sleep(self.chance.choice([0, 0.001, 0.005]))
        self.answer = self.chance.choice(
            [
                {"y": 1},
                {"y": 2},
                AppError(Code.GENE_NOT_FOUND, "no such gene"),
                AppError(Code.TOOL_SERVER_DOWN, "gone"),
            ]
        )
        return await super().call(call)


async def cancel(bench: Bench, job_id: UUID, chance: random.Random) -> str:
    """Cancel at a random moment; what the owner was told."""
    await asyncio.sleep(chance.choice([0, 0.01, 0.05, 0.2, 0.4]))
    try:
        async with bench.database.begin(bench.user.elevated()) as uow:
            return (await bench.jobs.cancel(uow, job_id)).status
    except AppError as error:
        return error.code.value


async def test_cancels_race_everything_else(bench: Bench) -> None:
    chance, told = random.Random(SEED), Counter[str]()
    bench.tools = FickleTools()

    async def run(ctx: JobContext) -> Outcome:
        await ctx.call_tool("a.b", {}, key="one")
        return Outcome(True, {"y": 1})

    bench.handler.run_once = run
    intake, made = Intake(bench.jobs, bench.database), 0
    changes = {"lane_capacity": 40, "worker_concurrency": 16, "lease_seconds": 60}
    async with bench.working(**changes, max_attempts=2), bench.working(**changes, max_attempts=2):
        while made < RACES or (made < 10 * RACES and not told.keys() >= MOMENTS):
            requests = [
                bench.request(
                    kind=chance.choice(["tool", "tool", "task"]),
                    definition={"tool": "a.b", "arguments": {}},
                    price=PRICE,
                )
                for _ in range(40)
            ]
            jobs = [
                one.job.job_id
                for one in await intake.submit_many(requests)
                if isinstance(one, Submitted)
            ]
            made += len(jobs)
            with contextlib.suppress(AppError):
                told.update(await asyncio.gather(*(cancel(bench, one, chance) for one in jobs)))
        await until(lambda: _is_empty(bench), 60)
    ends = await _assert_settled_as_ended(bench, made)
    assert told.keys() >= MOMENTS, told
    assert ends["Cancelled"] >= told["Cancelled"]
    assert set(ends) <= set(ENDS)
    assert set(ends) >= {"Success", "Failed", "Cancelled"}
    record("cancel_races_postgres", jobs=made, **{end.lower(): ends[end] for end in ENDS})


async def _is_empty(bench: Bench) -> bool:
    async with bench.database.begin(SERVICE) as uow:
        query = "select count(*) from app.job_queue"
        return int((await uow.execute(query)).scalar_one()) == 0


async def _assert_settled_as_ended(bench: Bench, count: int) -> Counter[str]:
    query = """
    select j.status, s.kind, s.captured_micro, count(*) as jobs,
      count(e.job_id) as started from app.processing_jobs j
    left join app.settlement s on s.hold_id = j.job_id
    left join (select distinct job_id from app.job_events) e using (job_id)
    group by 1, 2, 3
    """
    async with bench.database.begin(SERVICE) as uow:
        rows = (await uow.execute(query)).all()
    assert sum(row.jobs for row in rows) == count
    ends: Counter[str] = Counter()
    for row in rows:
        paid = ("captured", 1000) if row.status == "Success" else ("released", 0)
        assert (row.kind, row.captured_micro) == paid, row
        ends[row.status] += row.jobs
    return ends
