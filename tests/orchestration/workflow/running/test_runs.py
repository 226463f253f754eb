"""Workflows as jobs: over real PostgreSQL and the real worker, with tools written for the test."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from app.billing import to_micro
from app.kernel.db import Database
from app.kernel.errors import AppError, Code
from app.kernel.principal import SERVICE, Principal
from app.kernel.uow import UnitOfWork
from tests.orchestration.conftest import Bench
from tests.orchestration.workflow.running.harness import (
    DIAMOND,
    Tools,
    lines,
    metered,
    run,
    stored,
    submit,
    told,
    tool,
    until_flying,
    working,
)

pytestmark = pytest.mark.anyio


async def test_a_diamond_runs_each_step_once_and_is_charged_once(bench: Bench) -> None:
    tools = Tools({"t.join": lambda arguments: {"got": dict(arguments)}})
    job = await run(bench, tools, DIAMOND, {"n": 7})
    assert (job.status, job.charged_micro) == ("Success", to_micro(2))
    assert job.final_output == {"output": {"got": {"l": "t.left", "r": "t.right"}}}
    assert tools.counts() == {"t.top": 1, "t.left": 1, "t.right": 1, "t.join": 1}
    assert tools.calls[0].arguments == {"n": 7}
    assert tools.keys("t.top") == [f"{job.job_id}:step:top:1"]
    assert await bench.wallet() == (to_micro(8), 0, to_micro(2))
    assert {path: status for path, (status, _) in (await stored(bench, job.job_id)).items()} == (
        dict.fromkeys(DIAMOND, "Success")
    )
    assert await told(bench, job.job_id) == {
        (kind, path): 1 for kind in ("step.started", "step.finished") for path in DIAMOND
    }


async def test_branches_of_the_graph_run_at_the_same_time(bench: Bench) -> None:
    tools = Tools()
    left, right = tools.hold("t.left"), tools.hold("t.right")
    job = await submit(bench, DIAMOND, {})
    async with working(bench, tools):
        async with asyncio.timeout(30):
            await asyncio.gather(left.wait(), right.wait())
        tools.go("t.left")
        tools.go("t.right")
        assert (await bench.until_ended(job.job_id)).status == "Success"


async def test_a_stopped_run_goes_on_behind_its_stored_steps(bench: Bench) -> None:
    tools = Tools()
    reached = tools.hold("t.right")
    job = await submit(bench, DIAMOND, {})
    async with working(bench, tools):
        async with asyncio.timeout(30):
            await reached.wait()
            while "left" not in await stored(bench, job.job_id):
                await asyncio.sleep(0.01)
    assert set(await stored(bench, job.job_id)) == {"top", "left"}
    tools.go("t.right")
    async with working(bench, tools):
        done = await bench.until_ended(job.job_id)
    assert (done.status, done.attempt) == ("Success", 2)
    assert tools.counts() == {"t.top": 1, "t.left": 1, "t.right": 2, "t.join": 1}
    assert len(set(tools.keys("t.right"))) == 1
    assert set((await told(bench, job.job_id)).values()) == {1}
    assert await metered(bench, job.job_id) == [
        "step:join:1",
        "step:left:1",
        "step:right:1",
        "step:top:1",
    ]
    assert await bench.wallet() == (to_micro(8), 0, to_micro(2))


async def test_a_run_that_lost_its_lease_stores_nothing(bench: Bench) -> None:
    stale, fresh = Tools({"t.b": {"from": "stale"}}), Tools({"t.b": {"from": "fresh"}})
    reached = stale.hold("t.b")
    nodes = {"a": tool("a"), "b": tool("b", ["a"])}
    job = await submit(bench, nodes)
    # The first worker does not see it: its heartbeat comes in some days, and it is full.
    async with working(bench, stale, lease_seconds=1e6, lane_capacity=1):
        async with asyncio.timeout(30):
            await reached.wait()
        async with bench.database.begin(SERVICE) as uow:
            await uow.execute(
                "update app.job_queue set lease_until = null, worker = null, attempt = 9"
            )
        stale.answers["t.a"] = AssertionError("run again")
        reached = fresh.hold("t.b")
        async with working(bench, fresh):
            async with asyncio.timeout(30):
                await reached.wait()
            stale.go("t.b")
            while stale.flying:
                await asyncio.sleep(0.01)
            fresh.go("t.b")
            done = await bench.until_ended(job.job_id)
    assert (done.status, done.final_output) == ("Success", {"output": {"from": "fresh"}})
    assert (await stored(bench, job.job_id))["b"] == ("Success", {"from": "fresh"})
    assert stale.counts() == {"t.a": 1, "t.b": 1}
    assert fresh.counts() == {"t.b": 1}


@dataclass
class Faulty:
    """Transactions of the lane, one of which fails: before its commit, or told so after it.

    A lease that nobody was told of has run out by the time that anybody looks.
    """

    database: Database
    at: int
    is_after: bool
    count: int = 0

    @contextlib.asynccontextmanager
    async def begin(self, principal: Principal) -> AsyncIterator[UnitOfWork]:
        self.count += 1
        is_now = self.count == self.at
        gone = AppError(Code.HUB_UNAVAILABLE, "gone")
        known = await self._attempts() if is_now else {}
        async with self.database.begin(principal) as uow:
            yield uow
            if is_now and not self.is_after:
                raise gone
        if is_now:
            for job_id in dict(known.items() ^ (await self._attempts()).items()):
                await self._expire(job_id)
            raise gone

    async def _attempts(self) -> dict[UUID, int]:
        async with self.database.begin(SERVICE) as uow:
            rows = await uow.execute("select job_id, attempt from app.job_queue")
            return {row.job_id: row.attempt for row in rows}

    async def _expire(self, job_id: UUID) -> None:
        async with self.database.begin(SERVICE) as uow:
            await uow.execute(
                "update app.job_queue set lease_until = now() - interval '1 s'"
                " where job_id = :job and lease_until is not null",
                {"job": job_id},
            )


@pytest.mark.parametrize("is_after", [False, True])
async def test_wherever_the_database_fails_no_step_is_repeated(
    bench: Bench, *, is_after: bool
) -> None:
    async with bench.database.begin(SERVICE) as uow:
        await bench.billing.grant(uow, bench.user.owner, to_micro(1000), cause="more")
    for at in range(1, 30):
        tools = Tools()
        faulty = Faulty(bench.database, at, is_after)
        job = await submit(bench, DIAMOND, {})
        async with working(bench, tools, transactions=faulty):
            done = await bench.until_ended(job.job_id)
        assert (done.status, done.charged_micro) == ("Success", to_micro(2))
        assert set((await told(bench, job.job_id)).values()) == {1}
        assert await metered(bench, job.job_id) == [
            f"step:{path}:1" for path in ("join", "left", "right", "top")
        ]
        assert tools.counts() == {"t.top": 1, "t.left": 1, "t.right": 1, "t.join": 1}
        if faulty.count < at:
            return
    raise AssertionError("a run has more transactions than that")


async def test_a_failed_step_ends_the_workflow_free_and_is_named(bench: Bench) -> None:
    tools = Tools({"t.b": AppError(Code.NO_PAM_SITE, "no PAM", hint="try another gene")})
    nodes = {"a": tool("a"), "b": tool("b", ["a"]), "c": tool("c", ["b"])}
    job = await run(bench, tools, nodes)
    assert (job.status, job.charged_micro, job.final_output) == ("Failed", 0, None)
    assert job.error == {
        "code": "no_pam_site",
        "message": "no PAM",
        "hint": "try another gene",
        "details": {"step": "b"},
    }
    assert "t.c" not in tools.counts()
    assert (await stored(bench, job.job_id))["b"][0] == "Failed"
    assert await bench.wallet() == (to_micro(10), 0, 0)


async def test_a_failure_stops_the_steps_beside_it(bench: Bench) -> None:
    tools = Tools({"t.bad": AppError(Code.TOOL_FAILED, "no")})
    tools.hold("t.slow")
    job = await run(bench, tools, {"slow": tool("slow"), "bad": tool("bad")})
    assert job.status == "Failed"
    assert tools.flying == 0
    assert set(await stored(bench, job.job_id)) == {"bad"}


async def test_with_continue_the_workflow_sees_the_failure(bench: Bench) -> None:
    tools = Tools({"t.b": AppError(Code.TOOL_FAILED, "it broke")})
    nodes = {"b": tool("b", on_error="continue"), "c": tool("c", ["b"])}
    output = {"status": "${{ steps.b.status }}", "code": "${{ steps.b.error.code }}"}
    job = await run(bench, tools, nodes, output=output)
    assert job.status == "Success"
    assert job.final_output == {"output": {"status": "Failed", "code": "tool_failed"}}
    assert (await told(bench, job.job_id))["step.failed", "b"] == 1


async def test_a_map_is_bounded_and_keeps_the_order(bench: Bench) -> None:
    tools = Tools({"t.square": lambda arguments: {"n": arguments["n"] ** 2}})
    body = tool("square", arguments={"n": "${{ item }}"})
    nodes = {"m": {"map": {"over": "${{ input }}", "parallel": 2, "do": body}}}
    tools.hold("t.square")
    job = await submit(bench, nodes, [1, 2, 3, 4, 5], output="${{ steps.m.output[*].n }}")
    async with working(bench, tools):
        await until_flying(bench, tools, job, 2)
        tools.go("t.square")
        job = await bench.until_ended(job.job_id)
    assert job.final_output == {"output": [1, 4, 9, 16, 25]}
    assert tools.most == 2
    assert set(await stored(bench, job.job_id)) == {f"m[{index}]" for index in range(5)}
    assert (await told(bench, job.job_id))["step.finished", "m"] == 1


async def test_a_job_has_at_most_so_many_steps_at_a_time(bench: Bench) -> None:
    tools = Tools()
    nodes = {f"n{index}": tool("x") for index in range(7)}
    tools.hold("t.x")
    job = await submit(bench, nodes, output=1)
    async with working(bench, tools, parallel=3):
        await until_flying(bench, tools, job, 3)
        tools.go("t.x")
        assert (await bench.until_ended(job.job_id)).status == "Success"
    assert (tools.most, tools.counts()) == (3, {"t.x": 7})


async def test_items_of_a_map_are_not_repeated_after_a_stop(bench: Bench) -> None:
    tools = Tools({"t.x": lambda arguments: {"n": arguments["n"]}})
    inner = {"x": tool("x", arguments={"n": "${{ item }}"}), "y": tool("y", ["x"])}
    do = {"nodes": inner, "output": "${{ steps.x.output.n }}"}
    nodes = {"m": {"map": {"over": "${{ input }}", "do": do}}, "z": tool("z", ["m"])}
    reached = tools.hold("t.z")
    job = await submit(bench, nodes, [1, 2, 3], output="${{ steps.m.output }}")
    async with working(bench, tools):
        async with asyncio.timeout(30):
            await reached.wait()
    tools.go("t.z")
    async with working(bench, tools):
        done = await bench.until_ended(job.job_id)
    assert done.final_output == {"output": [1, 2, 3]}
    assert tools.counts() == {"t.x": 3, "t.y": 3, "t.z": 2}
    assert set((await told(bench, job.job_id)).values()) == {1}


async def test_the_arm_not_taken_is_skipped(bench: Bench) -> None:
    tools = Tools()
    when = [{"if": "${{ input.deep }}", "then": ["deep"]}]
    nodes = {
        "choose": {"branch": {"when": when, "else": ["quick"]}},
        "deep": tool("deep"),
        "quick": tool("quick"),
        "end": tool("end", ["deep", "quick"]),
    }
    job = await run(bench, tools, nodes, {"deep": False})
    assert job.status == "Success"
    assert tools.counts() == {"t.quick": 1, "t.end": 1}
    steps = await stored(bench, job.job_id)
    assert steps["deep"] == ("Skipped", None)
    assert steps["choose"] == ("Success", {"arm": "else", "then": ["quick"]})
    assert (await told(bench, job.job_id))["step.skipped", "deep"] == 1


async def test_a_step_is_tried_again_by_its_own_policy(bench: Bench) -> None:
    replies = [AppError(Code.TOOL_SERVER_DOWN, "down")] * 2 + [{"ok": True}]
    tools = Tools({"t.a": lambda _: replies.pop(0)})
    job = await run(bench, tools, {"a": tool("a", retry={"max_attempts": 3, "backoff_s": 0.01})})
    assert (job.status, job.attempt) == ("Success", 1)
    assert tools.keys("t.a") == [f"{job.job_id}:step:a:{attempt}" for attempt in (1, 2, 3)]
    assert (await told(bench, job.job_id))["step.retrying", "a"] == 2
    assert await bench.wallet() == (to_micro(8), 0, to_micro(2))


async def test_a_rate_limit_says_how_long_to_wait(bench: Bench) -> None:
    limited = AppError(Code.RATE_LIMITED, "slow down", details={"retry_after_s": 0.02})
    replies: list[Any] = [limited, {"ok": True}]
    tools = Tools({"t.a": lambda _: replies.pop(0)})
    job = await run(bench, tools, {"a": tool("a", retry={"backoff_s": 0})})
    assert job.status == "Success"
    [line] = [one for one in await lines(bench, job.job_id) if one.kind == "step.retrying"]
    assert (line.data["delay_s"], line.data["error"]["code"]) == (0.02, "rate_limited")


async def test_without_a_policy_or_for_other_errors_there_is_one_try(bench: Bench) -> None:
    tools = Tools(
        {"t.a": AppError(Code.TOOL_SERVER_DOWN, "x"), "t.b": AppError(Code.NO_GUIDE, "x")}
    )
    nodes = {
        "a": tool("a", on_error="continue"),
        "b": tool("b", on_error="continue", retry={"backoff_s": 0}),
    }
    assert (await run(bench, tools, nodes)).status == "Success"
    assert tools.counts() == {"t.a": 1, "t.b": 1}


async def test_a_try_that_takes_too_long_is_a_failure(bench: Bench) -> None:
    tools = Tools()
    tools.hold("t.a")
    job = await run(bench, tools, {"a": tool("a", timeout_s=0.05)})
    assert job.error is not None
    assert (job.status, job.error["code"]) == ("Failed", "tool_timeout")
    assert job.error["details"]["step"] == "a"


async def test_code_that_fails_in_the_sandbox_is_a_failed_step(bench: Bench) -> None:
    answers: dict[str, dict[str, Any]] = {
        "fine": {"status": "ok", "exit_code": 0, "stdout": "42"},
        "bad": {"status": "error", "exit_code": 1, "stderr": "ZeroDivisionError"},
    }
    tools = Tools({"sandbox.run_python": lambda arguments: answers[arguments["code"]]})
    nodes = {
        "fine": {"sandbox": {"code": "fine"}},
        "bad": {"sandbox": {"code": "bad"}, "after": ["fine"]},
    }
    job = await run(bench, tools, nodes)
    assert job.error is not None
    assert (job.status, job.error["code"]) == ("Failed", "tool_failed")
    assert job.error["details"] == {
        "step": "bad",
        "status": "error",
        "exit_code": 1,
        "stderr": "ZeroDivisionError",
    }
    assert (await stored(bench, job.job_id))["fine"][1]["stdout"] == "42"


@pytest.mark.parametrize("value", ["a\0b", 2**70, "\ud800"])
async def test_an_answer_that_cannot_be_stored_is_a_failed_step(bench: Bench, value: Any) -> None:
    job = await run(bench, Tools({"t.a": {"x": [value]}}), {"a": tool("a")})
    assert job.error is not None
    assert (job.status, job.error["code"]) == ("Failed", "tool_protocol_error")


async def test_text_that_only_looks_like_nul_is_stored(bench: Bench) -> None:
    job = await run(bench, Tools({"t.a": {"x": "\\u0000"}}), {"a": tool("a")})
    assert job.final_output == {"output": {"x": "\\u0000"}}


async def test_a_fault_of_foreign_code_tries_the_job_again(bench: Bench) -> None:
    replies: list[Any] = [RuntimeError("a fault"), {"ok": True}]
    tools = Tools({"t.b": lambda _: replies.pop(0)})
    job = await run(bench, tools, {"a": tool("a"), "b": tool("b", ["a"])})
    assert (job.status, job.attempt) == ("Success", 2)
    assert tools.counts() == {"t.a": 1, "t.b": 2}


async def test_an_owner_stops_a_run_and_pays_nothing(bench: Bench) -> None:
    tools = Tools()
    reached = tools.hold("t.b")
    job = await submit(bench, {"a": tool("a"), "b": tool("b", ["a"])})
    async with working(bench, tools):
        async with asyncio.timeout(30):
            await reached.wait()
        async with bench.database.begin(bench.user.elevated()) as uow:
            await bench.jobs.cancel(uow, job.job_id)
        done = await bench.until_ended(job.job_id)
    assert (done.status, done.charged_micro, tools.flying) == ("Cancelled", 0, 0)
    assert await bench.wallet() == (to_micro(10), 0, 0)


@pytest.mark.parametrize("body", [{}, {"definition": {"workflow": 2}}])
async def test_a_job_without_a_workflow_fails_at_once(bench: Bench, body: dict[str, Any]) -> None:
    job = await bench.submit(kind="workflow", definition=body)
    async with working(bench, Tools()):
        done = await bench.until_ended(job.job_id)
    assert done.error is not None
    assert (done.status, done.attempt, done.error["code"]) == ("Failed", 1, "invalid_input")
