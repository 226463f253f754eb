"""What callers and workers saw, judged after the fact, in the manner of Jepsen's checkers.

Every process writes lines to one file: a caller `submit` and `ok`, a worker `start` (a lease it
got), `call` (a tool it called) and `end` (ends it wrote, or that were refused as stale). A line
has the moments before and after the thing was done, on the machine's monotonic clock, which all
processes share; so a rule is broken only where two spans do not even touch.
"""

import json
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

TERMINAL = {"Success", "Failed", "Cancelled", "Dead"}


def now() -> int:
    """Nanoseconds on the clock that all processes of the machine share."""
    return time.monotonic_ns()


@dataclass(frozen=True)
class Diary:
    """The file that every process of a test appends to; a line is one write."""

    path: Path

    def note(self, event: str, began: int, **data: Any) -> None:
        line = {"event": event, "pid": os.getpid(), "began": began, "done": now(), **data}
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(descriptor, json.dumps(line).encode() + b"\n")
        finally:
            os.close(descriptor)

    def read(self) -> list[dict[str, Any]]:
        """Every line; one that a kill cut short is no line."""
        lines = []
        for text in self.path.read_text(encoding="utf-8").splitlines():
            try:
                lines.append(json.loads(text))
            except json.JSONDecodeError:
                continue
        return lines


@dataclass(frozen=True)
class Row:
    """A job as the database has it at the end."""

    job_id: str
    status: str
    attempt: int
    key: str | None
    output: Mapping[str, Any] | None
    price: int
    settlements: Sequence[tuple[str, int]]
    is_queued: bool


@dataclass
class _Job:
    starts: dict[int, dict[str, Any]] = field(default_factory=dict)
    calls: dict[str, dict[str, Any]] = field(default_factory=dict)
    ends: list[dict[str, Any]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def judge(events: Iterable[Mapping[str, Any]], rows: Sequence[Row]) -> list[str]:
    """Every broken promise, in words; none is the only good answer."""
    known = {row.job_id: row for row in rows}
    faults = _accepted(events := list(events), known)
    jobs = _by_job(events)
    for job_id, job in jobs.items():
        faults += [f"{job_id}: {fault}" for fault in job.faults]
        if job_id not in known:
            faults.append(f"{job_id}: ran but has no row")
    for row in rows:
        job = jobs.get(row.job_id, _Job())
        checks = _ended(row) + _tokens(row, job) + _order(job) + _result(row, job)
        faults += [f"{row.job_id}: {fault}" for fault in checks]
    return faults


def figures(events: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How much of what happened: jobs acknowledged, leases, calls, refused late ends."""
    return {
        "acknowledged": len({e["job"] for e in events if e["event"] == "ok"}),
        "starts": sum(len(e["leases"]) for e in events if e["event"] == "start"),
        "calls": sum(e["event"] == "call" for e in events),
        "late_ends_refused": sum(len(e["stale"]) for e in events if e["event"] == "end"),
    }


def _accepted(events: Sequence[Mapping[str, Any]], known: Mapping[str, Row]) -> list[str]:
    """An acknowledged job is there; one key is one job; a job is not older than its submit."""
    faults, by_key = [], defaultdict(set)
    for event in events:
        if event["event"] == "ok":
            by_key[event["key"]].add(event["job"])
            if event["job"] not in known:
                faults.append(f"{event['job']}: acknowledged and lost")
    for row in known.values():
        if row.key is not None:
            by_key[row.key].add(row.job_id)
    asked = {event["key"] for event in events if event["event"] == "submit"}
    faults += [f"key {key}: {len(ids)} jobs" for key, ids in by_key.items() if len(ids) > 1]
    faults += [f"key {key}: nobody asked for it" for key in by_key.keys() - asked]
    return faults


def _by_job(events: Iterable[Mapping[str, Any]]) -> dict[str, _Job]:
    jobs: dict[str, _Job] = defaultdict(_Job)
    for event in events:
        about = {"pid": event["pid"], "began": event["began"], "done": event["done"]}
        if event["event"] == "start":
            for job_id, attempt in event["leases"]:
                if attempt in jobs[job_id].starts:
                    jobs[job_id].faults.append(f"attempt {attempt} was leased twice")
                jobs[job_id].starts[attempt] = about
        elif event["event"] == "call":
            jobs[event["job"]].calls[event["call"]] = about
        elif event["event"] == "end":
            for job_id, attempt, status in event["ended"]:
                jobs[job_id].ends.append({**about, "attempt": attempt, "status": status})
    return jobs


def _ended(row: Row) -> list[str]:
    """Terminal exactly once, in the row, the queue and the ledger alike."""
    faults = []
    if row.status not in TERMINAL:
        faults.append(f"is {row.status}")
    if row.is_queued:
        faults.append("is still queued")
    paid = ("captured", row.price) if row.status == "Success" else ("released", 0)
    if list(row.settlements) != [paid]:
        faults.append(f"{row.status} was settled as {list(row.settlements)}")
    return faults


def _tokens(row: Row, job: _Job) -> list[str]:
    """One end was written, under the newest token, the one that the row has."""
    faults = []
    if len(job.ends) > 1:
        faults.append(f"was ended {len(job.ends)} times")
    faults += [
        f"{end} is not what the row says: {row.attempt} {row.status}"
        for end in job.ends
        if (end["attempt"], end["status"]) != (row.attempt, row.status)
    ]
    if row.status == "Success" and row.attempt not in job.starts:
        # A worker that is killed between its commit and its line leaves no line of the lease;
        # then it cannot have made the call whose answer the row has.
        faults.append(f"ended by attempt {row.attempt}, which nobody had")
    if job.starts and max(job.starts) > row.attempt:
        faults.append(f"ended by the stale attempt {row.attempt} of {max(job.starts)}")
    return faults


def _order(job: _Job) -> list[str]:
    """Leases follow each other, an end its lease, and no lease an end."""
    faults = []
    ordered = sorted(job.starts)
    for earlier, later in pairwise(ordered):
        if job.starts[later]["done"] < job.starts[earlier]["began"]:
            faults.append(f"attempt {later} came before attempt {earlier}")
    for end in job.ends:
        start = job.starts.get(end["attempt"])
        if start is not None and end["done"] < start["began"]:
            faults.append("ended before it began")
        faults += [
            f"attempt {attempt} began after the end"
            for attempt, other in job.starts.items()
            if other["began"] > end["done"]
        ]
    return faults


def _result(row: Row, job: _Job) -> list[str]:
    """The answer kept is that of a call which the worker of the row's token made under it."""
    if row.status != "Success" or row.output is None or "call" not in row.output:
        return []
    call, start = job.calls.get(row.output["call"]), job.starts.get(row.attempt)
    if call is None:
        return [f"its result is of a call that was never made: {row.output['call']}"]
    if start is None:
        return []
    if call["pid"] != start["pid"] or call["done"] < start["began"]:
        return ["its result is of a stale token"]
    return []
