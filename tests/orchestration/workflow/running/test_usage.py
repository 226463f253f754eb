"""Workflows in usage mode: the job's account lets every call in, and each is charged as used."""

from typing import Any

import pytest

from app.billing import MICRO, UsageRate, usage_quote
from app.kernel.errors import Code
from app.orchestration import JobView, workflow_job
from tests.orchestration.conftest import Bench
from tests.orchestration.workflow.running.harness import (
    DIAMOND,
    Tools,
    metered,
    stored,
    tool,
    working,
)

pytestmark = pytest.mark.anyio

CALL = 400_000
RATES = (UsageRate("tool", "*", "calls", 1, CALL, 1, 3),)


async def submit(bench: Bench, nodes: dict[str, Any], max_micro: int) -> JobView:
    body = workflow_job({"workflow": 1, "nodes": nodes}, {}, tool=str, template=str)
    price = usage_quote("template", "t", 1, RATES, max_micro)
    return await bench.submit(kind="workflow", definition={**body, "billing": "usage"}, price=price)


async def test_a_run_pays_for_its_calls(bench: Bench) -> None:
    job = await submit(bench, DIAMOND, 5 * MICRO)
    async with working(bench, Tools()):
        done = await bench.until_ended(job.job_id)
    assert (done.status, done.charged_micro) == ("Success", 4 * CALL)
    assert await metered(bench, job.job_id) == [
        f"step:{path}:1" for path in ("join", "left", "right", "top")
    ]
    assert await bench.wallet() == (10 * MICRO - 4 * CALL, 0, 4 * CALL)


async def test_at_the_cap_the_next_step_is_refused_and_what_ran_is_charged(bench: Bench) -> None:
    nodes = {"n0": tool("x")} | {f"n{at}": tool("x", [f"n{at - 1}"]) for at in range(1, 6)}
    tools = Tools()
    job = await submit(bench, nodes, 3 * CALL)
    async with working(bench, tools):
        done = await bench.until_ended(job.job_id)
    assert done.error is not None
    assert (done.status, done.error["code"]) == ("Failed", Code.CREDITS_EXHAUSTED.value)
    assert done.error["details"]["step"] == "n3"
    assert done.charged_micro == 3 * CALL
    assert tools.counts() == {"t.x": 3}
    assert set(await stored(bench, job.job_id)) == {
        "n0",
        "n1",
        "n2",
        "n3",
    }
    assert await bench.wallet() == (10 * MICRO - 3 * CALL, 0, 3 * CALL)
