"""What stays of a job: its row, its keys, its trace, its dead letter."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from app.orchestration import JobEvent, JobView
from app.orchestration.states import TERMINAL_EVENTS
from tests.simulation.memory import Memory, MemoryUnit


def view_of(memory: Memory, job_id: UUID, status: str | None = None) -> JobView:
    job, row = memory.jobs[job_id], memory.queue.get(job_id)
    end, request = memory.settled.get(job_id), job.request
    if status is None:
        status = memory.status(job_id)
        if status == "Running" and row is not None and row.lease_until <= memory.clock():
            status = "Retrying"
    return JobView(
        job_id=job_id,
        user_id=request.user_id,
        project_id=request.project_id,
        kind=request.kind,
        status=status,
        definition=request.definition,
        price_micro=request.price.amount_micro,
        charged_micro=None if end is None else end.captured,
        attempt=job.attempt if row is None else row.attempt,
        start_time=job.start_time,
        end_time=job.end_time,
        final_output=job.output,
        error=job.error,
    )


async def take_keys(uow: MemoryUnit, keys: Sequence[tuple[UUID, str, UUID, bytes]]) -> set[UUID]:
    await uow.write()
    bound = set()
    for user, key, job_id, digest in keys:
        if (user, key) not in uow.memory.keys:
            uow.put("keys", (user, key), (job_id, digest))
            bound.add(job_id)
    return bound


async def free_keys(uow: MemoryUnit, jobs: Sequence[UUID]) -> None:
    await uow.write()
    for key, (job_id, _) in list(uow.memory.keys.items()):
        if job_id in jobs:
            uow.put("keys", key, None)


async def find_by_keys(
    uow: MemoryUnit, keys: Sequence[tuple[UUID, str]]
) -> dict[tuple[UUID, str], tuple[JobView, bytes]]:
    await uow.read()
    known = {key: uow.memory.keys[key] for key in keys if key in uow.memory.keys}
    return {
        key: (view_of(uow.memory, job_id), digest)
        for key, (job_id, digest) in known.items()
        if job_id in uow.memory.jobs
    }


async def get(uow: MemoryUnit, job_id: UUID, user_id: UUID | None) -> JobView | None:
    await uow.read()
    job = uow.memory.jobs.get(job_id)
    if job is None or (user_id is not None and job.request.user_id != user_id):
        return None
    return view_of(uow.memory, job_id)


async def append_event(
    uow: MemoryUnit,
    job_id: UUID,
    user_id: UUID,
    kind: str,
    data: Mapping[str, Any],
    once: str | None = None,
) -> None:
    await uow.write()
    lines = uow.memory.events.get(job_id, ())
    if once is None or once not in {line[1] for line in lines}:
        event = JobEvent(job_id, len(lines) + 2, kind, dict(data), uow.moment)
        uow.put("events", job_id, (*lines, (event, once)))


async def events(uow: MemoryUnit, job_id: UUID, after_seq: int, limit: int) -> list[JobEvent]:
    await uow.read()
    job = uow.memory.jobs[job_id]
    lines = [JobEvent(job_id, 1, "job.queued", {}, job.start_time)]
    lines += [event for event, _ in uow.memory.events.get(job_id, ())]
    if job.end_time is not None:
        kind = TERMINAL_EVENTS[job.status]
        lines.append(JobEvent(job_id, len(lines) + 1, kind, {}, job.end_time))
    return [line for line in lines if line.seq > after_seq][:limit]


async def bury(uow: MemoryUnit, rows: Sequence[Mapping[str, Any]]) -> None:
    await uow.write()
    for row in rows:
        if row["job_id"] not in uow.memory.dead:
            uow.put("dead", row["job_id"], dict(row))
