"""Waits: for a time, for a person, for the next try; in memory, parked, and across restarts."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from app.billing import to_micro
from app.kernel.embedded import Hub
from app.kernel.errors import AppError, Code
from app.kernel.principal import SERVICE
from app.orchestration import JobView, Question, Workflows
from app.orchestration.workflow.running import run as runs
from tests.orchestration.conftest import Bench
from tests.orchestration.workflow.running.harness import (
    Tools,
    lines,
    queue_row,
    run,
    stored,
    submit,
    told,
    tool,
    until,
    working,
)

pytestmark = pytest.mark.anyio

FORM = {
    "type": "object",
    "properties": {"go": {"type": "boolean"}},
    "required": ["go"],
    "additionalProperties": False,
}
ASK = {
    "a": tool("a"),
    "ask": {"wait": {"approval": {"title": "Order ${{ steps.a.output.from }}?", "form": FORM}}},
    "b": tool("b", arguments={"go": "${{ steps.ask.output.go }}"}),
}


async def asked(bench: Bench) -> list[Question]:
    async with bench.database.begin(bench.user) as uow:
        return list(await Workflows(bench.wakeups).open_questions(uow, bench.user.owner))


async def answer(bench: Bench, job_id: UUID, value: Any, path: str = "ask") -> Question:
    async with bench.database.begin(bench.user.elevated()) as uow:
        return await Workflows(bench.wakeups).answer(uow, job_id, path, value)


async def until_parked(bench: Bench, job: JobView, attempt: int = 1) -> None:
    async def is_parked() -> bool:
        row = await queue_row(bench, job.job_id)
        return bool((row["parked_as"], row["attempt"]) == ("Waiting", attempt))

    await until(is_parked)
    row = await queue_row(bench, job.job_id)
    assert (row["lease_until"], row["worker"], row["place"]) == (None, None, None)


async def come(bench: Bench, moment: datetime) -> None:
    """Let a moment come that a parked job waits for."""
    async with bench.database.begin(SERVICE) as uow:
        due = await uow.execute("select due_at, run_at from app.job_waits, app.job_queue")
        ((due_at, run_at),) = due.all()
        assert due_at == moment <= run_at
        await uow.execute("update app.job_waits set due_at = now()")
        await uow.execute("update app.job_queue set run_at = now()")


async def refusal(bench: Bench, job_id: UUID, value: Any, path: str = "ask") -> AppError:
    with pytest.raises(AppError) as caught:
        await answer(bench, job_id, value, path)
    return caught.value


async def test_a_wait_holds_the_workflow_up_and_gives_null(bench: Bench) -> None:
    nodes = {
        "past": {"wait": {"until": "2026-01-01T00:00:30Z"}},
        "soon": {"wait": {"seconds": 0.02}, "after": ["past"]},
        "a": tool("a", ["soon"]),
    }
    job = await run(bench, Tools(), nodes)
    assert (job.status, job.attempt) == ("Success", 1)
    assert (await stored(bench, job.job_id))["soon"] == ("Success", None)
    kinds = [line.kind for line in await lines(bench, job.job_id)]
    assert kinds.index("step.waiting") < kinds.index("step.started")


@pytest.mark.parametrize("kind", ["seconds", "until"])
async def test_a_long_wait_gives_the_lease_up_and_ends_by_itself(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(runs, "SHORT_S", 0.0)
    moment = datetime.now(UTC) + timedelta(days=1)
    wait: dict[str, Any] = {"seconds": 0.4} if kind == "seconds" else {"until": moment.isoformat()}
    tools = Tools()
    nodes = {"a": tool("a"), "w": {"wait": wait, "after": ["a"]}, "b": tool("b", ["w"])}
    job = await submit(bench, nodes)
    async with working(bench, tools):
        if kind == "until":
            await until_parked(bench, job)
            await come(bench, moment)
        job = await bench.until_ended(job.job_id)
    assert (job.status, job.attempt) == ("Success", 2)
    assert tools.counts() == {"t.a": 1, "t.b": 1}
    assert set((await told(bench, job.job_id)).values()) == {1}
    seqs = [line.seq for line in await lines(bench, job.job_id)]
    assert seqs == list(range(1, len(seqs) + 1))


async def test_a_wait_of_a_year_is_in_nobodys_memory(bench: Bench) -> None:
    job = await submit(bench, {"w": {"wait": {"seconds": 366 * 86_400}}, "a": tool("a", ["w"])})
    async with working(bench, Tools()):
        await until_parked(bench, job)
        assert (await bench.view(job.job_id)).status == "Waiting"
    async with bench.database.begin(SERVICE) as uow:
        await uow.execute("update app.job_waits set due_at = now()")
        await uow.execute("update app.job_queue set run_at = now()")
    async with working(bench, Tools()):
        done = await bench.until_ended(job.job_id)
    assert (done.status, done.charged_micro) == ("Success", to_micro(2))


async def test_tries_far_apart_give_the_lease_up_and_count_on(
    bench: Bench, hub: Hub, clone: str
) -> None:
    tools = Tools({"t.a": AppError(Code.TOOL_SERVER_DOWN, "down")})
    retry = {"max_attempts": 3, "backoff_s": 1000}
    job = await submit(bench, {"a": tool("a", retry=retry)})
    async with working(bench, tools):
        for attempt in (1, 2):
            await until_parked(bench, job, attempt)
            with psycopg.connect(hub.dsn(hub.superuser, clone)) as admin:
                # An hour passes; not even the platform may write that.
                admin.execute("update app.job_events set created_at = created_at - interval '1 h'")
                admin.execute("update app.job_queue set run_at = run_at - interval '1 h'")
        done = await bench.until_ended(job.job_id)
    assert done.error is not None
    assert (done.status, done.error["code"]) == ("Failed", "tool_server_down")
    assert tools.keys("t.a") == [f"{done.job_id}:step:a:{attempt}" for attempt in (1, 2, 3)]
    assert done.attempt == 3


async def test_a_question_parks_the_job_until_its_owner_answers(bench: Bench) -> None:
    tools = Tools({"t.b": lambda arguments: {"got": arguments["go"]}})
    job = await submit(bench, ASK)
    async with working(bench, tools):
        await until_parked(bench, job)
        [question] = await asked(bench)
        assert (question.title, question.path, question.form) == ("Order t.a?", "ask", FORM)
        given = await answer(bench, job.job_id, {"go": True})
        assert given.answered_at is not None
        assert await asked(bench) == []
        done = await bench.until_ended(job.job_id)
    assert done.final_output == {"output": {"got": True}}
    assert (await stored(bench, job.job_id))["ask"] == ("Success", {"go": True})
    assert set((await told(bench, job.job_id)).values()) == {1}
    assert tools.counts() == {"t.a": 1, "t.b": 1}


async def test_an_answer_that_comes_while_no_worker_runs_is_kept(bench: Bench) -> None:
    job = await submit(bench, ASK)
    async with working(bench, Tools()):
        await until_parked(bench, job)
    await answer(bench, job.job_id, {"go": False})
    async with working(bench, Tools()):
        assert (await bench.until_ended(job.job_id)).status == "Success"


async def test_an_answer_reaches_a_run_that_is_at_work_elsewhere(bench: Bench) -> None:
    tools = Tools()
    tools.hold("t.slow")
    job = await submit(bench, {**ASK, "slow": tool("slow")}, output=1)
    async with working(bench, tools):

        async def is_asked() -> bool:
            return len(await asked(bench)) == 1

        await until(is_asked)
        await answer(bench, job.job_id, {"go": True})
        await until(lambda: "t.b" in tools.counts())
        tools.go("t.slow")
        done = await bench.until_ended(job.job_id)
    assert (done.status, done.attempt) == ("Success", 1)


async def test_what_does_not_fit_the_form_is_no_answer(bench: Bench) -> None:
    job = await submit(bench, ASK)
    async with working(bench, Tools()):
        await until_parked(bench, job)
    for value in ({}, {"go": 1}, {"go": True, "x": 1}, {"go": "\0"}, {"go": "\ud800"}):
        error = await refusal(bench, job.job_id, value)
        assert error.code in {Code.INVALID_INPUT, Code.UNKNOWN_FIELD}
    assert (await refusal(bench, job.job_id, {"go": True}, "a")).code is Code.NOT_FOUND
    assert len(await asked(bench)) == 1


async def test_a_question_is_answered_once(bench: Bench) -> None:
    job = await submit(bench, ASK)
    async with working(bench, Tools()):
        await until_parked(bench, job)
    await answer(bench, job.job_id, {"go": True})
    assert (await refusal(bench, job.job_id, {"go": False})).code is Code.CONFLICT
    async with working(bench, Tools()):
        await bench.until_ended(job.job_id)
    assert (await refusal(bench, job.job_id, {"go": False})).code is Code.JOB_FINISHED
    assert (await stored(bench, job.job_id))["ask"] == ("Success", {"go": True})


async def test_without_an_answer_in_time_the_graph_goes_another_way(bench: Bench) -> None:
    ask = {"approval": {"title": "Go on?", "form": FORM, "timeout_s": 0.3}}
    late = {"if": "${{ steps.ask.status == 'Failed' }}", "then": ["cold"]}
    nodes = {
        "ask": {"wait": ask, "on_error": "continue"},
        "choose": {"branch": {"when": [late], "else": ["warm"]}},
        "cold": tool("cold"),
        "warm": tool("warm"),
    }
    tools = Tools()
    done = await run(bench, tools, nodes)
    assert done.status == "Success"
    assert tools.counts() == {"t.cold": 1}
    assert (await stored(bench, done.job_id))["ask"][0] == "Failed"


@pytest.mark.parametrize("is_parked", [True, False])
async def test_a_question_that_has_expired_takes_no_answer(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, *, is_parked: bool
) -> None:
    monkeypatch.setattr(runs, "SHORT_S", 0.0 if is_parked else 60.0)
    ask = {"approval": {"title": "Go on?", "form": FORM, "timeout_s": 0.3}}
    job = await submit(bench, {"ask": {"wait": ask}})
    async with working(bench, Tools()):
        done = await bench.until_ended(job.job_id)
    assert done.error is not None
    assert (done.status, done.error["code"], done.charged_micro) == (
        "Failed",
        "question_expired",
        0,
    )
    assert done.attempt == (2 if is_parked else 1)
    assert await asked(bench) == []


async def test_an_expired_question_of_a_living_job_is_refused(bench: Bench) -> None:
    job = await submit(bench, ASK)
    async with working(bench, Tools()):
        await until_parked(bench, job)
    async with bench.database.begin(SERVICE) as uow:
        await uow.execute("update app.job_waits set due_at = now()")
    assert (await refusal(bench, job.job_id, {"go": True})).code is Code.QUESTION_EXPIRED


@pytest.mark.parametrize("nodes", [ASK, {"w": {"wait": {"seconds": 1000}}}])
async def test_a_waiting_job_is_cancelled_at_once(bench: Bench, nodes: dict[str, Any]) -> None:
    job = await submit(bench, nodes)
    async with working(bench, Tools()):
        await until_parked(bench, job)
    async with bench.database.begin(bench.user.elevated()) as uow:
        view = await bench.jobs.cancel(uow, job.job_id)
    assert (view.status, view.charged_micro) == ("Cancelled", 0)
    assert await bench.wallet() == (to_micro(10), 0, 0)
    assert await asked(bench) == []
