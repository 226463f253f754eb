"""The walk through the roles: hand-offs, refusals, resuming after a kill at any moment."""

from itertools import pairwise

import pytest

from app.agents import TaskRunner, Templates
from app.kernel.errors import AppError, Code
from app.orchestration import Outcome
from tests.agents.contexts import Context, Job, Killed, MemoryBlobs, MemoryLedger
from tests.agents.toy import TOOLS, Toy
from tests.manual_clock import ManualClock

pytestmark = pytest.mark.anyio
STRAIGHT = [(role, 1, "Success") for role in ("planner", "retriever", "coder", "evaluator")]


class Bench:
    """A runner over memory; `start` makes a new worker's context over the same trace and rows."""

    def __init__(self, numbers: list[int], policies: tuple[str, ...] = ()) -> None:
        self.toy, self.blobs, self.ledger = Toy(), MemoryBlobs(), MemoryLedger()
        given = {"numbers": numbers, "limit": 10}
        self.job = Job({"kind": "task", "template": "toy", "version": 3, "input": given})
        self.ctx = Context(self.job, TOOLS)
        self.runner = TaskRunner(
            Templates([self.toy.template()]),
            self.blobs.put,
            clock=ManualClock(),
            ledger=self.ledger,
            coder_policies=policies,
        )

    async def run(self) -> Outcome:
        return await self.runner.run(self.ctx)


async def test_a_good_first_try_walks_straight_to_the_report() -> None:
    bench = Bench([4])
    outcome = await bench.run()
    assert outcome.is_success
    assert outcome.error is None
    assert outcome.output == {"number": 4}
    assert bench.ledger.walked == [*STRAIGHT, ("reporter", 1, "Success")]
    [file] = outcome.files
    assert (file.name, file.media_type) == ("n.txt", "text/plain")
    assert bench.blobs.data[file.blob.sha256] == b"4\n"
    [ready] = bench.ctx.of("report.ready")
    assert ready == {"files": [{"name": "n.txt", "media_type": "text/plain", "size": 2}]}


async def test_every_hand_off_is_an_event() -> None:
    bench = Bench([4])
    await bench.run()
    path = [(one["from"], one["to"]) for one in bench.ctx.of("agent.handoff")]
    roles = ["planner", "retriever", "coder", "evaluator", "reporter"]
    assert path == list(pairwise(roles))
    assert all(one["reason"] for one in bench.ctx.of("agent.handoff"))
    started = [one["role"] for one in bench.ctx.of("agent.started")]
    assert started == [one["role"] for one in bench.ctx.of("agent.finished")] == roles


async def test_checks_show_their_figures_and_one_that_did_not_run_is_not_hidden() -> None:
    bench = Bench([4])
    await bench.run()
    [passed] = bench.ctx.of("check.passed")
    assert passed == {"check": "small", "figure": {"number": 4}, "reason": None}
    [absent] = bench.ctx.of("check.not_run")
    assert absent["reason"] == "there is no oracle"
    summary = bench.ctx.of("agent.finished")[3]["summary"]
    assert summary == "1 of 2 checks ran, and every one passed."


async def test_a_refused_try_goes_back_to_the_coder_with_the_reason() -> None:
    bench = Bench([99, 5], policies=("first", "second"))
    outcome = await bench.run()
    assert outcome.output == {"number": 5}
    assert bench.ledger.walked == [
        *STRAIGHT[:3],
        ("evaluator", 1, "Refused"),
        ("coder", 2, "Success"),
        ("evaluator", 2, "Success"),
        ("reporter", 1, "Success"),
    ]
    [(_, policy_one, none), (_, policy_two, told)] = bench.toy.seen
    assert (policy_one, none, policy_two) == ("first", [], "second")
    assert told[0].reasons == ["small: 99 is above 10"]
    assert told[0].exclude == ["99"]
    back = [one for one in bench.ctx.of("agent.handoff") if one["to"] == "coder"][-1]
    assert back == {"from": "evaluator", "to": "coder", "reason": "small: 99 is above 10"}


async def test_three_refused_tries_end_the_run_without_a_result() -> None:
    bench = Bench([97, 98, 99, 5])
    outcome = await bench.run()
    assert not outcome.is_success
    assert not outcome.files
    assert outcome.error is not None
    assert outcome.error.code is Code.CHECK_FAILED
    assert len(outcome.error.details["refusals"]) == 3
    assert outcome.error.details["checks"][0]["reason"] == "99 is above 10"
    assert bench.ctx.of("report.ready") == []


async def test_a_coder_with_nothing_left_ends_the_run_with_its_own_code() -> None:
    bench = Bench([97])
    outcome = await bench.run()
    assert outcome.error is not None
    assert outcome.error.code is Code.NO_GUIDE
    assert outcome.error.hint == "Give more."
    assert bench.ledger.walked[-1] == ("coder", 2, "Failed")


ROLES = ["plan", "retrieve", "compute", "evaluate", "report"]
DEATHS = [
    *(f"{role}:1:toy.{tool}:1" for role, tool in zip(
        ("planner", "retriever", "coder", "evaluator", "reporter"), ROLES, strict=True
    )),
    "coder:1:toy.compute:2",
    "coder:2:toy.compute:1",
    "evaluator:2:toy.evaluate:1",
]  # fmt: skip


@pytest.mark.parametrize("death", DEATHS)
async def test_a_killed_worker_costs_no_finished_role(death: str) -> None:
    whole = Bench([99, 5])
    expected = await whole.run()
    bench = Bench([99, 5])
    bench.ctx.kill_at = death
    with pytest.raises(Killed):
        await bench.run()
    done = list(bench.ledger.rows)
    bench.ctx.kill_at, bench.ctx.calls = None, []
    outcome = await bench.run()
    assert outcome == expected
    assert bench.ledger.rows[: len(done)] == done
    assert bench.ledger.walked == whole.ledger.walked
    # The role that died starts again with its first call, and no earlier role calls again.
    role, attempt = death.split(":")[:2]
    assert bench.ctx.calls[0][1].startswith(f"{role}:{attempt}:")
    assert bench.ctx.calls[0][1].endswith(":1")


@pytest.mark.parametrize("death", DEATHS)
async def test_the_trace_of_a_resumed_run_repeats_nothing(death: str) -> None:
    whole, bench = Bench([99, 5]), Bench([99, 5])
    await whole.run()
    bench.ctx.kill_at = death
    with pytest.raises(Killed):
        await bench.run()
    bench.ctx.kill_at = None
    await bench.run()
    assert bench.ctx.events == whole.ctx.events
    assert list(bench.blobs.data) == list(whole.blobs.data)


async def test_a_worker_killed_between_row_and_events_tells_them_later() -> None:
    bench = Bench([4])
    await bench.run()
    events = list(bench.ctx.events)
    lost = [(kind, data) for kind, data in events if data.get("from") != "coder"]
    cut = bench.ledger.rows[:3]
    bench.ledger.rows = cut
    bench.ctx.once.discard("coder:1:agent.handoff")
    bench.ctx.events = [one for one in lost if one[1].get("role") not in ("evaluator", "reporter")]
    await bench.run()
    [handed] = [one for one in bench.ctx.of("agent.handoff") if one["from"] == "coder"]
    assert handed["to"] == "evaluator"


async def test_a_finished_run_is_told_again_without_any_work() -> None:
    bench = Bench([4])
    first = await bench.run()
    bench.ctx.calls = []
    assert await bench.run() == first
    assert bench.ctx.calls == []


async def test_calls_carry_keys_that_name_role_attempt_tool_and_turn() -> None:
    bench = Bench([4])
    await bench.run()
    keys = [key for _, key in bench.ctx.calls]
    assert keys == [
        "planner:1:toy.plan:1",
        "retriever:1:toy.retrieve:1",
        "coder:1:toy.compute:1",
        "coder:1:toy.compute:2",
        "evaluator:1:toy.evaluate:1",
        "reporter:1:toy.report:1",
    ]


async def test_a_cancelled_job_stops_before_the_next_role() -> None:
    bench = Bench([4])
    bench.ctx.cancelled = True
    with pytest.raises(AppError) as caught:
        await bench.run()
    assert caught.value.code is Code.JOB_CANCELLED
    assert bench.ledger.rows == []


async def test_a_job_of_another_version_is_refused() -> None:
    bench = Bench([4])
    bench.ctx.job = Job({**bench.job.definition, "version": 2})
    with pytest.raises(AppError) as caught:
        await bench.run()
    assert caught.value.code is Code.CONFLICT
    assert "version 2" in caught.value.message
