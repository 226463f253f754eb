"""One run of one job, in memory: what has ended, what is under way, what to write next.

Nothing here waits or touches the database. `compose` says what the next transaction writes and
what may start once that is durable, so that a step never starts before those it follows from
are stored.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from app.billing import Usage
from app.kernel.errors import AppError, Code
from app.kernel.principal import USER_SCOPES, Principal
from app.orchestration.types import End, Lease
from app.orchestration.workflow.plan import Plan
from app.orchestration.workflow.pricing import charge_micro
from app.orchestration.workflow.running.account import RunAccount
from app.orchestration.workflow.running.records import (
    RETRYING,
    STARTED,
    EndedStep,
    Line,
    NewWait,
    Note,
    OpenWait,
    Park,
    PutOff,
    Stored,
)
from app.orchestration.workflow.stepping import Window, advance
from app.orchestration.workflow.steps import (
    SKIPPED,
    Advance,
    ReadyStep,
    StepResult,
    WaitingStep,
    WorkflowEnd,
)

SHORT_S = 2.0
"""Pauses up to this long are spent in memory, longer ones with the lease given up."""
_SCOPES = frozenset(USER_SCOPES)
_ENDS = {"Success": "step.finished", "Failed": "step.failed"}
Told = tuple[str, Mapping[str, Any], str | None, "asyncio.Future[None] | None"]


@dataclass(slots=True)
class Writes:
    """What one run adds to the next transaction, and what it does once that is durable."""

    run: "Run"
    steps: list[EndedStep]
    lines: list[Line] = field(default_factory=list)
    waits: list[NewWait] = field(default_factory=list)
    usages: list[Usage] = field(default_factory=list)
    end: End | None = None
    park: Park | None = None
    work: list[ReadyStep] = field(default_factory=list)
    pauses: list[tuple[str, float]] = field(default_factory=list)
    told: "list[asyncio.Future[None]]" = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.steps or self.lines or self.waits or self.usages or self.is_last)

    @property
    def is_last(self) -> bool:
        """Whether the run is over, or given up, once this is written."""
        return self.end is not None or self.park is not None


class Run:
    """A leased job of kind `workflow`."""

    __slots__ = (
        "_busy",
        "_fresh",
        "_given",
        "_input",
        "_once",
        "_paused",
        "_seq",
        "_skipped",
        "_told",
        "_waits",
        "_window",
        "account",
        "closing",
        "ended",
        "failures",
        "is_over",
        "lease",
        "plan",
        "principal",
        "questions",
        "results",
        "started",
        "tasks",
        "timers",
        "told",
        "usages",
        "working",
    )

    def __init__(self, lease: Lease, plan: Plan | None = None) -> None:
        job = lease.job
        self.lease = lease
        self.plan = plan
        self.principal = Principal("user", job.user_id, job.project_id, _SCOPES)
        self.results: dict[str, StepResult] = {}
        self.failures: dict[str, int] = {}
        self.started: dict[str, datetime] = {}
        self.working: set[str] = set()
        self.questions: set[str] = set()
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.timers: dict[str, asyncio.TimerHandle] = {}
        self.account: RunAccount | None = None
        self.closing: End | Park | None = None
        self.is_over = False
        self.ended: list[EndedStep] = []
        self.usages: list[Usage] = []
        self.told: list[Told] = []
        self._input = job.definition.get("input")
        # Paths that are not to be given out: at work, waiting or backing off.
        self._busy: set[str] = set()
        # Waits and backoffs, by the loop's time at which they are over; None for never.
        self._paused: dict[str, float | None] = {}
        self._fresh: list[tuple[str, float]] = []
        self._waits: set[str] = set()
        self._window = Window()
        self._skipped: set[str] = set()
        self._told: set[str] = set()
        self._once: set[str] = set()
        self._seq = 1

    @property
    def is_stopping(self) -> bool:
        """Whether nothing more is to be started: the run is over, lost or stopped."""
        return self.is_over or self.closing is not None

    # What happens to the run

    def resume(self, stored: Stored, now: datetime, at: float) -> None:
        """Go on behind what earlier runs have left; `at` is the loop's time."""
        self.results, self._skipped = stored.results, stored.skipped
        self._once, self._seq = stored.once, stored.seq
        for note in stored.notes:
            self._recall(note, at)
        for wait in stored.waits:
            if wait.path not in self.results:
                self._wait_on(wait, now, at)

    def end_step(self, step: EndedStep) -> None:
        """A step has its result."""
        self.working.discard(step.path)
        self._release(step.path)
        if step.path not in self.results:
            self.results[step.path] = step.result
            self.ended.append(step)
            if step.usage is not None:
                self.usages.append(step.usage)

    def put_off(self, how: PutOff, at: float) -> None:
        """A try has failed and there is another."""
        self.working.discard(how.path)
        if how.counts:
            self.failures[how.path] = how.attempt
        self._pause(how.path, how.delay_s, at)
        data = {
            "path": how.path,
            "attempt": how.attempt,
            "delay_s": how.delay_s,
            "error": how.error,
        }
        self.told.append((RETRYING, data, None, None))

    def time_up(self, path: str, now: datetime) -> None:
        """A pause that is no question is over: a wait ends, a step may be tried again."""
        if path in self._waits:
            self.end_wait(OpenWait(path, False, 0.0), now)
        else:
            self._release(path)

    def stop(self) -> None:
        """Let go of all that is under way."""
        for task in list(self.tasks.values()):
            task.cancel()
        for timer in self.timers.values():
            timer.cancel()
        self.timers.clear()

    def end_wait(self, wait: OpenWait, now: datetime) -> None:
        """A wait is over, a question was answered or has expired."""
        self.end_step(EndedStep(wait.path, _outcome_of(wait), 1, now, now))

    def tell_started(self, step: ReadyStep) -> None:
        """A step takes long enough to be seen at work."""
        if step.path not in self._told:
            self._told.add(step.path)
            data = {"path": step.path, "kind": step.kind, "target": step.target}
            self.told.append((STARTED, data, None, None))

    # What follows

    def compose(self, now: datetime, at: float, parallel: int) -> Writes:
        """What to write now. Steps given out count as at work from here on."""
        made = Writes(self, self.ended)
        self.ended = []
        made.usages, self.usages = self.usages, []
        if self.closing is None:
            self._advance(made, now, at, parallel)
        elif isinstance(self.closing, End):
            made.end = self.closing
        else:
            made.park = self.closing
        self._number(made)
        if not made.is_last and self.closing is None and not (self.working or self.told):
            made.park = self._parking(at)
        made.pauses, self._fresh = self._fresh, []
        return made

    def _advance(self, made: Writes, now: datetime, at: float, parallel: int) -> None:
        plan = self.plan
        assert plan is not None
        while True:
            self._window.most = max(0, parallel - len(self.working))
            state = advance(plan, self._input, self.results, self._busy, self._window)
            self._follow(state, made, now)
            if state.end is not None:
                made.end = self._end(plan, state.end)
                return
            if not self._begin(state.waiting, made, now, at):
                break
        made.work = state.ready
        for step in made.work:
            self.working.add(step.path)
            self._busy.add(step.path)
            self.started.setdefault(step.path, now)

    def _follow(self, state: Advance, made: Writes, now: datetime) -> None:
        """What has ended without being carried out: branches, maps, skipped steps.

        A map's own list is told but not stored: it follows from its items and would double them.
        """
        for path, result in state.settled.items():
            self.results[path] = result
            if result.errors is None:
                made.steps.append(EndedStep(path, result, 1, now, now))
            else:
                data = {"path": path, "attempt": 1, "duration_ms": 0}
                self.told.append((_ENDS[result.status], data, f"step:{path}", None))
        for path in state.skipped:
            if path not in self._skipped:
                self._skipped.add(path)
                made.steps.append(EndedStep(path, SKIPPED, 1, now, now))

    def _begin(self, waiting: list[WaitingStep], made: Writes, now: datetime, at: float) -> bool:
        """Begin waits; whether one of them was over at once."""
        is_any = False
        for step in waiting:
            delay_s = _delay_of(step, now)
            if delay_s is not None and delay_s <= 0 and step.title is None:
                self.end_step(EndedStep(step.path, StepResult("Success"), 1, now, now))
                made.steps.append(self.ended.pop())
                is_any = True
                continue
            (self._waits if step.title is None else self.questions).add(step.path)
            self._pause(step.path, delay_s, at)
            made.waits.append(NewWait(step, 0, delay_s))
        return is_any

    def _end(self, plan: Plan, end: WorkflowEnd) -> End:
        is_success = end.status == "Success"
        job = self.lease.job
        charge = charge_micro(plan, job.definition, self.results, is_success=is_success)
        output = {"output": end.output} if is_success else None
        return End(self.lease, end.status, output, end.error, charge_micro=charge)

    def _number(self, made: Writes) -> None:
        """Give every line of the trace its place."""
        told, self.told = self.told, []
        for kind, data, once, future in told:
            if future is not None:
                made.told.append(future)
            if once is None or once not in self._once:
                made.lines.append(Line(self._next(), kind, data, once))
                self._once.update(() if once is None else (once,))
        for step in made.steps:
            if step.path in self.started and step.path not in self._told:
                step.started_seq = self._next()
            step.seq = self._next()
        made.waits = [NewWait(wait.step, self._next(), wait.delay_s) for wait in made.waits]

    def _next(self) -> int:
        self._seq += 1
        return self._seq

    # Pauses

    def _parking(self, at: float) -> Park | None:
        """How to give the lease up, if nothing but long pauses is left to do."""
        if not self._paused:
            return None
        dues = [due for due in self._paused.values() if due is not None]
        left_s = min(dues) - at if dues else None
        return None if left_s is not None and left_s <= SHORT_S else Park(left_s, is_waiting=True)

    def _pause(self, path: str, delay_s: float | None, at: float) -> None:
        self._busy.add(path)
        self._paused[path] = None if delay_s is None else at + delay_s
        if delay_s is not None:
            self._fresh.append((path, delay_s))

    def _release(self, path: str) -> None:
        self._busy.discard(path)
        self._paused.pop(path, None)
        self.questions.discard(path)

    def _recall(self, note: Note, at: float) -> None:
        path = note.data["path"]
        if note.kind == STARTED:
            self._told.add(path)
        elif path not in self.results:
            if note.data["error"].get("code") != Code.RATE_LIMITED:
                self.failures[path] = note.data["attempt"]
            left_s = float(note.data["delay_s"]) - note.age_s
            self._release(path)
            if left_s > 0:
                self._pause(path, left_s, at)

    def _wait_on(self, wait: OpenWait, now: datetime, at: float) -> None:
        if wait.is_answered or (wait.left_s is not None and wait.left_s <= 0):
            self.end_wait(wait, now)
            return
        (self.questions if wait.is_question else self._waits).add(wait.path)
        self._pause(wait.path, wait.left_s, at)


def _delay_of(step: WaitingStep, now: datetime) -> float | None:
    if step.title is not None:
        return step.timeout_s
    return step.seconds if step.until is None else (step.until - now).total_seconds()


def _outcome_of(wait: OpenWait) -> StepResult:
    if wait.is_answered:
        return StepResult("Success", wait.answer)
    if not wait.is_question:
        return StepResult("Success")
    error = AppError(
        Code.QUESTION_EXPIRED,
        "Nobody answered in time.",
        hint="With `on_error: continue` a branch can go on without the answer.",
    )
    return StepResult("Failed", None, error.as_dict())
