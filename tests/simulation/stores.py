"""The store functions of jobs and billing over a `Memory`: what their SQL says, in Python.

`installed` puts them in the place of the SQL, so that all of the product above them runs as it is.
A differential test holds both to the same answers.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any
from unittest.mock import patch
from uuid import UUID

from app.billing import Hold, Settlement, Usage
from app.billing import store as billing_store
from app.orchestration import JobEvent, JobRequest, JobView, Lease, store
from app.orchestration.operations.deadletters import store as letters_store
from app.orchestration.records import store as records_store
from app.orchestration.states import TERMINAL_EVENTS
from app.orchestration.types import End, Ended
from tests.simulation.memory import EPOCH, Job, Memory, MemoryUnit, Purse, Queued, Settled

FOREVER = float("inf")


# --- app.orchestration.store


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
    view = _view(memory, row.job_id, "Running")
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


# --- app.orchestration.records.store


def _view(memory: Memory, job_id: UUID, status: str | None = None) -> JobView:
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
        key: (_view(uow.memory, job_id), digest)
        for key, (job_id, digest) in known.items()
        if job_id in uow.memory.jobs
    }


async def get(uow: MemoryUnit, job_id: UUID, user_id: UUID | None) -> JobView | None:
    await uow.read()
    job = uow.memory.jobs.get(job_id)
    if job is None or (user_id is not None and job.request.user_id != user_id):
        return None
    return _view(uow.memory, job_id)


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


# --- app.billing.store


async def place_holds(uow: MemoryUnit, holds: Sequence[Hold]) -> set[UUID]:
    await uow.write()
    placed, running = set(), dict[UUID, int]()
    for hold in holds:
        purse = uow.memory.wallets.get(hold.user_id)
        if hold.hold_id in uow.memory.holds or purse is None:
            continue
        # What comes before counts whether it fits or not, as a running sum does.
        running[hold.user_id] = running.get(hold.user_id, 0) + hold.amount_micro
        if running[hold.user_id] <= purse.available:
            placed.add(hold.hold_id)
    for hold in holds:
        if hold.hold_id in placed:
            uow.put("holds", hold.hold_id, hold)
            move(uow, hold.user_id, available=-hold.amount_micro, held=hold.amount_micro)
    return placed


def move(uow: MemoryUnit, user_id: UUID, **by: int) -> None:
    purse: Purse = uow.memory.wallets[user_id]
    moved = {name: getattr(purse, name) + amount for name, amount in by.items()}
    uow.put("wallets", user_id, replace(purse, **moved))


async def available(uow: MemoryUnit, users: Collection[UUID]) -> dict[UUID, int]:
    await uow.write()
    known = uow.memory.wallets
    return {user: known[user].available for user in sorted(users) if user in known}


async def find_holds(uow: MemoryUnit, ids: Sequence[UUID]) -> dict[UUID, Hold]:
    await uow.read()
    known = uow.memory.holds
    return {hold_id: known[hold_id] for hold_id in ids if hold_id in known}


async def settle(uow: MemoryUnit, ends: Sequence[Settlement]) -> set[UUID]:
    await uow.write()
    ended = set()
    for end in ends:
        hold = uow.memory.holds.get(end.hold_id)
        if hold is None or end.hold_id in uow.memory.settled:
            continue
        if end.captured_micro > hold.amount_micro:
            continue
        released = hold.amount_micro - end.captured_micro
        uow.put("settled", end.hold_id, Settled(end.kind, end.captured_micro, released))
        move(
            uow,
            hold.user_id,
            available=released,
            held=-hold.amount_micro,
            captured=end.captured_micro,
        )
        ended.add(end.hold_id)
    return ended


async def insert_usage(uow: MemoryUnit, rows: Sequence[Usage]) -> None:
    await uow.write()
    for row in rows:
        if (row.job_id, row.key) not in uow.memory.usage:
            uow.put("usage", (row.job_id, row.key), row)


# --- app.orchestration.operations.deadletters.store


async def bury(uow: MemoryUnit, rows: Sequence[Mapping[str, Any]]) -> None:
    await uow.write()
    for row in rows:
        if row["job_id"] not in uow.memory.dead:
            uow.put("dead", row["job_id"], dict(row))


_PLACES: Mapping[Any, tuple[Any, ...]] = {
    store: (
        insert_jobs,
        stage,
        claim,
        renew,
        cancelled,
        lock_lease,
        lock_queued,
        request_cancel,
        give_back,
        complete,
        queue_depth,
    ),
    records_store: (take_keys, free_keys, find_by_keys, get, append_event, events),
    letters_store: (bury,),
    billing_store: (place_holds, available, find_holds, settle, insert_usage),
}


@contextmanager
def installed(**mutants: Any) -> Iterator[None]:
    """The product over memory; `mutants` are functions to put in the place of one of these."""
    with ExitStack() as stack:
        for module, functions in _PLACES.items():
            for function in functions:
                name = function.__name__
                stack.enter_context(patch.object(module, name, mutants.get(name, function)))
        yield
