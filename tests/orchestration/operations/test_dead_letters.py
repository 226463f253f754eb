"""Dead jobs are kept with their cause and redriven as new jobs, each once."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.billing import Quote, to_micro
from app.kernel.errors import AppError, Code
from app.kernel.principal import SERVICE
from app.orchestration import DeadLetters, JobContext, Outcome
from app.orchestration.operations import Redriven
from tests.orchestration.conftest import Bench, succeed

pytestmark = pytest.mark.anyio


async def fail(_ctx: JobContext) -> Outcome:
    raise AppError(Code.TOOL_TIMEOUT, "Too slow.")


async def dead(bench: Bench, count: int = 1, **changes: Any) -> list[UUID]:
    """Jobs that have failed at every attempt, oldest first."""
    bench.handler.run_once = fail
    jobs = [await bench.submit(definition={"n": n}, **changes) for n in range(count)]
    async with bench.working():
        ended = [await bench.until_ended(job.job_id) for job in jobs]
    assert {job.status for job in ended} == {"Dead"}
    bench.handler.run_once = succeed
    return [job.job_id for job in jobs]


async def redrive(bench: Bench, job_id: UUID) -> Redriven:
    async with bench.database.begin(SERVICE) as uow:
        return await DeadLetters(bench.jobs).redrive(uow, bench.user.owner, job_id)


async def test_a_dead_job_is_kept_with_its_cause(bench: Bench) -> None:
    first, second = await dead(bench, 2)
    async with bench.database.begin(bench.user) as uow:
        letters = DeadLetters(bench.jobs)
        found = await letters.list(uow, bench.user.owner)
        assert [one.job_id for one in found] == [second, first]
        assert [one.job_id for one in await letters.list(uow, bench.user.owner, 5, second)] == [
            first
        ]
        assert (found[0].cause, found[0].kind) == ("tool_timeout", "task")
        assert found[0].error["code"] == "attempts_exhausted"
        assert await letters.list(uow, bench.user.owner, cause="internal") == []
        assert await letters.list(uow, bench.user.owner, is_open=False) == []
        assert await letters.counts(uow, bench.user.owner) == [("tool_timeout", "task", 2)]
        assert await letters.list(uow, uuid4()) == []
    assert await bench.wallet() == (to_micro(10), 0, 0)


async def test_it_goes_on_as_a_new_job(bench: Bench) -> None:
    webhook = uuid4()
    (job_id,) = await dead(bench, webhook_id=webhook, priority=2)
    done = await redrive(bench, job_id)
    assert done.redriven_as not in (None, job_id)
    assert await redrive(bench, job_id) == done
    assert await bench.wallet() == (to_micro(8), to_micro(2), 0)
    async with bench.database.begin(SERVICE) as uow:
        rows = await uow.execute("select job_id, webhook_id, priority from app.job_queue")
        assert rows.all() == [(done.redriven_as, webhook, 2)]
    assert done.redriven_as is not None
    async with bench.working():
        job = await bench.until_ended(done.redriven_as)
    assert (job.status, job.definition) == ("Success", {"n": 0})
    assert (await bench.kinds(job.job_id))[:2] == ["job.queued", "job.redriven"]
    assert (await bench.view(job_id)).status == "Dead"
    assert await bench.wallet() == (to_micro(8), 0, to_micro(2))
    async with bench.database.begin(bench.user) as uow:
        (letter,) = await DeadLetters(bench.jobs).list(uow, bench.user.owner, is_open=False)
        assert letter.redriven_as == done.redriven_as
        assert await DeadLetters(bench.jobs).counts(uow, bench.user.owner) == []


async def test_two_at_once_are_one(bench: Bench) -> None:
    (job_id,) = await dead(bench)
    first, second = await asyncio.gather(redrive(bench, job_id), redrive(bench, job_id))
    assert first == second
    assert await bench.wallet() == (to_micro(8), to_micro(2), 0)


async def test_all_in_batches(bench: Bench) -> None:
    ids = await dead(bench, 5)
    letters, after, seen = DeadLetters(bench.jobs), None, []
    while True:
        async with bench.database.begin(SERVICE) as uow:
            done, after = await letters.redrive_all(
                uow, bench.user.owner, 2, after, cause="tool_timeout", kind="task"
            )
        seen += [one.job_id for one in done]
        if after is None:
            break
    assert seen == ids
    async with bench.database.begin(SERVICE) as uow:
        assert await letters.redrive_all(uow, bench.user.owner) == ([], None)


async def test_without_credits_only_that_job_is_refused(bench: Bench) -> None:
    cheap, dear, last = (
        *await dead(bench),
        *await dead(bench, price=Quote("template", "t", "outcome", to_micro(7), 1)),
        *await dead(bench),
    )
    await bench.submit(price=Quote("template", "t", "outcome", to_micro(3), 1))
    letters = DeadLetters(bench.jobs)
    async with bench.database.begin(SERVICE) as uow:
        done, _ = await letters.redrive_all(uow, bench.user.owner)
    results = {one.job_id: one for one in done}
    error = results[dear].error
    assert error is not None
    assert error.code is Code.INSUFFICIENT_CREDITS
    assert results[cheap].redriven_as is not None
    assert results[last].redriven_as is not None
    async with bench.database.begin(SERVICE) as uow:
        assert [one.job_id for one in await letters.list(uow, bench.user.owner, is_open=True)] == [
            dear
        ]


async def test_what_cannot_be_redriven(bench: Bench) -> None:
    job = await bench.submit()
    with pytest.raises(AppError) as caught:
        await redrive(bench, job.job_id)
    assert caught.value.code is Code.NOT_FOUND
    async with bench.working():
        await bench.until_ended(job.job_id)
    (metered,) = await dead(bench)
    async with bench.database.begin(SERVICE) as uow:
        await uow.execute(
            'update app.processing_jobs set workflow_definition = \'{"billing": "usage"}\''
            " where job_id = :job",
            {"job": metered},
        )
    done = await redrive(bench, metered)
    assert done.error is not None
    assert done.error.code is Code.CONFLICT
