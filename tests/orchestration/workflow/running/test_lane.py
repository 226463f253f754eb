"""The lane itself: many runs at once, runners of agents, charges, and tokens that are stale."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from app.billing import Quote, to_micro
from app.kernel.errors import AppError, Code
from app.kernel.principal import SERVICE
from app.orchestration import JobContext, JobView, Lease, store, workflow_job
from app.orchestration.workflow.running import store as steps_store
from app.orchestration.workflow.running.records import EndedStep, Line, NewWait, Park
from app.orchestration.workflow.steps import ReadyStep, StepResult, WaitingStep
from tests.orchestration.conftest import Bench
from tests.orchestration.workflow.running.harness import (
    DIAMOND,
    Tools,
    lane_of,
    lines,
    metered,
    stored,
    submit,
    told,
    tool,
    until,
    working,
)

pytestmark = pytest.mark.anyio


async def test_many_runs_share_the_lane_and_a_stuck_one_holds_up_none(bench: Bench) -> None:
    tools = Tools()
    stuck = tools.hold("t.stuck")
    first = await submit(bench, {"s": tool("stuck")})
    async with bench.database.begin(SERVICE) as uow:
        await bench.billing.grant(uow, bench.user.owner, to_micro(1000), cause="more")
    jobs = [await submit(bench, DIAMOND, {}) for _ in range(30)]
    async with working(bench, tools):
        for job in jobs:
            assert (await bench.until_ended(job.job_id)).status == "Success"
        assert stuck.is_set()
        assert tools.counts()["t.join"] == 30
        tools.go("t.stuck")
        assert (await bench.until_ended(first.job_id)).status == "Success"


async def test_parents_that_end_together_start_their_child_once(bench: Bench) -> None:
    """Both ends wait for the same transaction, and once more with one that is lost in between."""
    tools = Tools()
    tools.hold("t.both")
    nodes = {"l": tool("both"), "r": tool("both"), "child": tool("child", ["l", "r"])}
    job = await submit(bench, nodes)
    async with working(bench, tools):
        await until(lambda: tools.flying == 2)
        tools.go("t.both")
        await bench.until_ended(job.job_id)
    assert tools.counts() == {"t.both": 2, "t.child": 1}
    assert set((await told(bench, job.job_id)).values()) == {1}


async def test_the_lane_holds_no_more_runs_than_it_may(bench: Bench) -> None:
    tools = Tools()
    tools.hold("t.x")
    jobs = [await submit(bench, {"a": tool("x")}) for _ in range(5)]
    async with working(bench, tools, lane_capacity=2):
        await until(lambda: tools.flying == 2)
        async with bench.database.begin(SERVICE) as uow:
            rows = await uow.execute("select count(*) from app.job_queue where attempt > 0")
            assert rows.scalar_one() == 2
        tools.go("t.x")
        for job in jobs:
            assert (await bench.until_ended(job.job_id)).status == "Success"


PRICED: dict[str, Any] = {
    "choose": {"branch": {"when": [{"if": "${{ input.deep }}", "then": ["deep"]}]}},
    "deep": tool("deep"),
    "each": {"map": {"over": [1, 2, 3], "do": tool("item")}},
    "bad": tool("bad", on_error="continue"),
}


async def test_a_run_is_charged_for_the_steps_that_succeeded(bench: Bench) -> None:
    body = workflow_job(
        {"workflow": 1, "nodes": PRICED, "output": 1}, {"deep": False}, tool=str, template=str
    )
    prices = {"tool:t.deep": 500_000, "tool:t.item": 100_000, "tool:t.bad": 7, "tool:t.none": 9}
    price = Quote("tool", "workflow", "outcome", to_micro(1), 1)
    definition = {**body, "billing": "outcome", "prices": prices, "pins": {}}
    job = await bench.submit(kind="workflow", definition=definition, price=price)
    tools = Tools({"t.bad": AppError(Code.TOOL_FAILED, "no")})
    async with working(bench, tools):
        done = await bench.until_ended(job.job_id)
    assert (done.status, done.charged_micro) == ("Success", 300_000)
    assert await bench.wallet() == (to_micro(10) - 300_000, 0, 300_000)


class Agent:
    """A runner that tells, calls a tool, writes a row of its own, and fails if told to."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.gate: asyncio.Event | None = None
        self.reached = asyncio.Event()

    async def run(
        self,
        ctx: JobContext,
        node: ReadyStep,
        input: Mapping[str, Any],  # noqa: A002 - the port's own word
        *,
        key: str,
    ) -> Any:
        self.keys.append(key)
        await ctx.emit("agent.started", {"role": "planner"}, once="planner")
        found = await ctx.call_tool("t.look", {"q": input["q"]}, key="look")
        async with ctx.transaction() as uow:
            await uow.execute("select 1")
        self.reached.set()
        if self.gate is not None:
            await self.gate.wait()
        return {"template": node.target, "found": found}


AGENT: dict[str, Any] = {
    "a": {"agent": {"template": "toy", "input": {"q": "${{ input.q }}"}}},
    "b": tool("b", arguments={"x": "${{ steps.a.output.template }}"}),
}


async def test_an_agent_is_a_step_that_tells_and_calls(bench: Bench) -> None:
    tools, agent = Tools(), Agent()
    job = await submit(bench, AGENT, {"q": 1})
    async with working(bench, tools, runners={"agent": agent}):
        done = await bench.until_ended(job.job_id)
    assert done.status == "Success"
    assert agent.keys == ["step:a:1"]
    assert tools.keys("t.look") == [f"{job.job_id}:step:a:look"]
    assert tools.calls[-1].arguments == {"x": "toy"}
    assert await metered(bench, job.job_id) == ["step:a:look", "step:b:1"]
    kinds = [(line.kind, line.data.get("path")) for line in await lines(bench, job.job_id)]
    assert ("agent.started", "a") in kinds
    assert kinds.index(("tool.finished", "a")) < kinds.index(("step.finished", "a"))


async def test_an_agent_that_was_stopped_tells_and_meters_nothing_twice(bench: Bench) -> None:
    tools, agent = Tools(), Agent()
    agent.gate = asyncio.Event()
    job = await submit(bench, AGENT, {"q": 1})
    async with working(bench, tools, runners={"agent": agent}):
        await until(agent.reached.is_set)
    agent.gate.set()
    async with working(bench, tools, runners={"agent": agent}):
        done = await bench.until_ended(job.job_id)
    assert (done.status, done.attempt) == ("Success", 2)
    assert agent.keys == ["step:a:1"] * 2
    assert await metered(bench, job.job_id) == ["step:a:look", "step:b:1"]
    seen = await lines(bench, job.job_id)
    assert [line.kind for line in seen].count("agent.started") == 1
    assert [line.seq for line in seen] == list(range(1, len(seen) + 1))


async def test_without_a_runner_an_agent_fails_its_step(bench: Bench) -> None:
    job = await submit(bench, AGENT, {"q": 1})
    async with working(bench, Tools()):
        done = await bench.until_ended(job.job_id)
    assert done.error is not None
    assert (done.status, done.error["code"]) == ("Failed", "invalid_input")


async def claimed(bench: Bench, job: JobView) -> Lease:
    async with bench.database.begin(SERVICE) as uow:
        [lease] = await store.claim(uow, "workflow", 1, 60.0, "test")
    assert lease.job_id == job.job_id
    return lease


async def test_a_stale_token_writes_nothing(bench: Bench) -> None:
    job = await submit(bench, DIAMOND, {})
    lease = await claimed(bench, job)
    stale, now = lease._replace(attempt=lease.attempt - 1), datetime.now(UTC)
    step = EndedStep("top", StepResult("Success", {}), 1, now, now, seq=2)
    wait = NewWait(WaitingStep(path="w", seconds=1.0), 3, 1.0)
    async with bench.database.begin(SERVICE) as uow:
        assert await steps_store.save_steps(uow, [(stale, [step])]) == set()
        assert await steps_store.save_lines(uow, [(stale, [Line(2, "x", {})])]) == set()
        assert await steps_store.save_waits(uow, [(stale, [wait])]) == set()
        assert await steps_store.park(uow, [(stale, Park(1.0))]) == set()
        assert not await steps_store.hold(uow, job.job_id, stale.attempt)
    assert await stored(bench, job.job_id) == {}
    async with bench.database.begin(SERVICE) as uow:
        assert await steps_store.save_steps(uow, [(lease, [step])]) == {job.job_id}
        assert await steps_store.save_steps(uow, [(lease, [step])]) == {job.job_id}
        assert await steps_store.park(uow, [(lease, Park(0.0))]) == {job.job_id}
    assert set(await stored(bench, job.job_id)) == {"top"}
    async with working(bench, Tools()):
        assert (await bench.until_ended(job.job_id)).status == "Success"


async def test_a_job_that_failed_too_often_is_put_aside_and_free(bench: Bench) -> None:
    tools = Tools({"t.a": RuntimeError("a fault")})
    job = await submit(bench, {"a": tool("a")})
    async with working(bench, tools):
        done = await bench.until_ended(job.job_id)
    assert done.error is not None
    assert (done.status, done.attempt) == ("Dead", bench.settings.max_attempts)
    assert done.error["details"]["cause"]["code"] == "internal"
    assert await bench.wallet() == (to_micro(10), 0, 0)


async def test_nothing_is_held_while_nothing_runs(bench: Bench) -> None:
    lane = lane_of(bench, Tools())
    job = await submit(bench, DIAMOND, {})
    task = asyncio.create_task(lane.run())
    await bench.until_ended(job.job_id)
    await until(lambda: lane.held() == {})
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
