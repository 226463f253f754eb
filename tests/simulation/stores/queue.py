"""The live rows of jobs: places in line, claims, leases, ends."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from app.orchestration import JobRequest, Lease
from app.orchestration.types import End, Ended
from tests.simulation.memory import EPOCH, Job, Memory, MemoryUnit, Queued
from tests.simulation.stores.records import view_of

FOREVER = float("inf")


def _head(memory: Memory, kind: str, floor: int, now: float) -> int:
    waiting = [
        row.place
        for row in memory.queue.values()
        if row.kind == kind
        and row.place is not None
        and row.place >= floor
        and row.lease_until is None
    ]
    return min(waiting) if waiting else int(now * 1_000_000)


def _tail(memory: Memory, user_id: UUID, kind: str, priority: int) -> int | None:
    taken = [
        row.place
        for row in memory.queue.values()
        if (row.user_id, row.kind) == (user_id, kind)
        and row.priority >= priority
        and row.place is not None
    ]
    return max(taken) if taken else None


def _places(
    uow: MemoryUnit, asked: Sequence[tuple[UUID, UUID, str, int]], floor: int
) -> tuple[dict[UUID, int], int]:
    """The fair place of each (job, user, kind, priority), and the head of their queues."""
    memory = uow.memory
    heads = {kind: _head(memory, kind, floor, uow.now) for _, _, kind, _ in asked}
    groups: dict[tuple[UUID, str, int], list[UUID]] = {}
    for job_id, user_id, kind, priority in asked:
        groups.setdefault((user_id, kind, priority), []).append(job_id)
    places = {}
    for (user_id, kind, priority), jobs in groups.items():
        tail = _tail(memory, user_id, kind, priority)
        first = heads[kind] if tail is None else max(heads[kind], tail + 1)
        places.update({job_id: first + n for n, job_id in enumerate(sorted(jobs))})
    return places, max(heads.values(), default=0)


async def insert_jobs(
    uow: MemoryUnit, jobs: Sequence[tuple[UUID, JobRequest]], floor: int
) -> tuple[datetime, int]:
    await uow.write()
    asked = [(job_id, r.user_id, r.kind, r.priority) for job_id, r in jobs]
    places, head = _places(uow, asked, floor)
    for job_id, request in jobs:
        uow.put("jobs", job_id, Job(job_id, request, uow.moment))
        run_at = uow.now if request.run_at is None else (request.run_at - EPOCH).total_seconds()
        is_later, is_limited = run_at > uow.now, bool(request.limit_names)
        row = Queued(
            job_id,
            request.user_id,
            request.kind,
            request.priority,
            None if is_later or is_limited else places[job_id],
            FOREVER if is_limited else run_at,
            is_limited=is_limited,
            parked_as="Limited" if is_limited else None,
            webhook_id=request.webhook_id,
        )
        uow.put("queue", job_id, row)
    return uow.moment, head


async def stage(uow: MemoryUnit, limit: int) -> tuple[int, float | None]:
    await uow.write()
    parked = [row for row in uow.memory.queue.values() if row.place is None]
    due = sorted((row for row in parked if row.run_at <= uow.now), key=lambda row: row.run_at)
    asked = [(row.job_id, row.user_id, row.kind, row.priority) for row in due[:limit]]
    places, _ = _places(uow, asked, 0)
    for job_id, place in places.items():
        row = uow.memory.queue[job_id]
        uow.put("queue", job_id, replace(row, place=place, parked_as=None))
    later = [row.run_at for row in parked if uow.now < row.run_at < FOREVER]
    # The database counts in microseconds: less than one is never left.
    return len(places), max(min(later) - uow.now, 1e-6) if later else None


async def claim(
    uow: MemoryUnit,
    kind: str,
    limit: int,
    lease_s: float,
    worker: str,
    *,
    floor: int = 0,
    ids: Sequence[UUID] | None = None,
) -> list[Lease]:
    await uow.write()
    ready = [
        row
        for row in uow.memory.queue.values()
        if row.kind == kind
        and row.place is not None
        and row.place >= floor
        and (row.lease_until is None or row.lease_until < uow.now)
        and (ids is None or row.job_id in ids)
    ]
    leases = []
    for row in sorted(ready, key=lambda row: row.place or 0)[:limit]:
        taken = replace(
            row,
            attempt=row.attempt + 1,
            failures=row.failures + (row.lease_until is not None),
            losses=row.losses + (row.lease_until is not None),
            lease_until=uow.now + lease_s,
            worker=worker,
        )
        uow.put("queue", row.job_id, taken)
        uow.lease(taken, worker)
        leases.append(_lease(uow.memory, taken))
    return leases


def _lease(memory: Memory, row: Queued) -> Lease:
    view = view_of(memory, row.job_id, "Running")
    place = row.place or 0
    return Lease(view, row.attempt, row.failures, row.is_cancel_requested, place, row.losses)


async def renew(uow: MemoryUnit, leases: Mapping[UUID, int], lease_s: float) -> dict[UUID, bool]:
    await uow.write()
    held = {}
    for job_id, attempt in leases.items():
        row = uow.memory.queue.get(job_id)
        if row is not None and row.attempt == attempt and row.lease_until is not None:
            uow.put("queue", job_id, replace(row, lease_until=uow.now + lease_s))
            held[job_id] = row.is_cancel_requested
    return held


async def cancelled(uow: MemoryUnit, jobs: Collection[UUID]) -> set[UUID]:
    await uow.read()
    rows = (uow.memory.queue.get(job_id) for job_id in jobs)
    return {row.job_id for row in rows if row is not None and row.is_cancel_requested}


async def lock_lease(uow: MemoryUnit, job_id: UUID, attempt: int) -> bool:
    await uow.write()
    row = uow.memory.queue.get(job_id)
    return row is not None and row.attempt == attempt


async def lock_queued(uow: MemoryUnit, job_id: UUID, user_id: UUID) -> tuple[bool, int] | None:
    await uow.write()
    row = uow.memory.queue.get(job_id)
    if row is None or row.user_id != user_id:
        return None
    return row.lease_until is not None and row.lease_until > uow.now, row.attempt


async def request_cancel(uow: MemoryUnit, job_id: UUID) -> None:
    await uow.write()
    if (row := uow.memory.queue.get(job_id)) is not None:
        uow.put("queue", job_id, replace(row, is_cancel_requested=True))


async def give_back(
    uow: MemoryUnit, job_id: UUID, attempt: int, *, delay_s: float, is_failure: bool
) -> bool:
    await uow.write()
    row = uow.memory.queue.get(job_id)
    if row is None or row.attempt != attempt or row.lease_until is None:
        return False
    is_later = delay_s > 0 and not row.is_cancel_requested
    given = replace(
        row,
        lease_until=None,
        worker=None,
        failures=row.failures + is_failure,
        place=None if is_later else row.place,
        run_at=uow.now if row.is_cancel_requested else uow.now + delay_s,
    )
    uow.put("queue", job_id, given)
    return True


async def complete(uow: MemoryUnit, ends: Sequence[End]) -> list[Ended]:
    await uow.write()
    done = []
    for end in ends:
        row = uow.memory.queue.get(end.lease.job_id)
        if row is None or row.attempt != end.lease.attempt:
            continue
        uow.put("queue", row.job_id, None)
        job = uow.memory.jobs[row.job_id]
        if job.end_time is None:
            ended = replace(
                job,
                status=end.status,
                end_time=uow.moment,
                attempt=end.lease.attempt,
                output=end.output,
                error=end.error,
            )
            uow.put("jobs", row.job_id, ended)
            done.append(Ended(row.job_id, row.is_limited, row.webhook_id, row.priority))
    return done


async def queue_depth(uow: MemoryUnit) -> tuple[int, float]:
    await uow.read()
    ready = [row for row in uow.memory.queue.values() if row.place is not None]
    waits = [r.run_at for r in ready if r.lease_until is None or r.lease_until < uow.now]
    return len(ready), max(uow.now - min(waits), 0.0) if waits else 0.0
