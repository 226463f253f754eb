"""Where sandboxed code went is in the trace of its job, and of no other tool's call."""

from collections.abc import Mapping
from typing import Any

import pytest

from app.orchestration import JobContext, Outcome
from app.proxy import egress_of
from tests.orchestration.conftest import Bench

pytestmark = pytest.mark.anyio
ROW = {
    "host": "eutils.ncbi.nlm.nih.gov", "port": 443, "verdict": "allowed", "reason": "",
    "calls": 3, "bytes_up": 900, "bytes_down": 70_000, "ms": 412,
}  # fmt: skip


async def traced(bench: Bench, tool: str, answer: Mapping[str, Any]) -> dict[str, Any]:
    """The data of the line that ends the call."""
    bench.tools.answer = answer

    async def call(ctx: JobContext) -> Outcome:
        await ctx.call_tool(tool, {}, key="k")
        return Outcome(True, {})

    bench.handler.run_once = call
    job = await bench.submit()
    async with bench.working():
        await bench.until_ended(job.job_id)
    async with bench.database.begin(bench.user) as uow:
        lines = await bench.jobs.events(uow, job.job_id)
    (line,) = [line for line in lines if line.kind == "tool.finished"]
    return dict(line.data)


async def test_the_trace_of_a_job_tells_where_code_went(bench: Bench) -> None:
    data = await traced(bench, "sandbox.run_python", {"status": "ok", "egress": [ROW]})
    assert data["egress"] == [ROW]


async def test_code_that_went_nowhere_and_other_tools_leave_no_word(bench: Bench) -> None:
    assert "egress" not in await traced(bench, "sandbox.run_python", {"egress": []})
    assert "egress" not in await traced(bench, "lab.fetch", {"egress": [ROW]})
    assert egress_of("sandbox.run_python", None) == {}
