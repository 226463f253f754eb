"""Runs jobs of kind `workflow`: the handler that goes through a definition's graph.

What has ended is a row of `job_steps` before anything that depends on it starts, in the same
transaction as the events that tell it. A run that finds rows of its job goes on behind them, so
a killed worker costs the steps in flight at most; those are called again under the same keys.
"""

import asyncio
from collections.abc import Coroutine, Mapping
from datetime import datetime
from typing import Any

from app.kernel.clock import Clock, SystemClock
from app.kernel.errors import AppError, Code, app_error
from app.kernel.uow import UnitOfWork
from app.orchestration.lifecycle import Lifecycle
from app.orchestration.types import JobContext, Outcome
from app.orchestration.workflow import store
from app.orchestration.workflow.executing import Executor
from app.orchestration.workflow.plan import Plan
from app.orchestration.workflow.runnable import check_runnable
from app.orchestration.workflow.stepping import advance
from app.orchestration.workflow.steps import (
    SKIPPED,
    Advance,
    ReadyStep,
    StepResult,
    WaitingStep,
    WorkflowEnd,
)
from app.orchestration.workflow.store import RETRYING, WAITING, EndedStep
from app.orchestration.workflow.validation import Plans

KIND = "workflow"
_PARALLEL = 8
_ENDS = {"Success": "step.finished", "Failed": "step.failed", "Skipped": "step.skipped"}


class WorkflowRunner:
    """A `JobHandler` for jobs of kind `workflow`: `{"definition": ..., "input": ...}`."""

    def __init__(
        self, lifecycle: Lifecycle, *, clock: Clock | None = None, parallel: int = _PARALLEL
    ) -> None:
        """At most `parallel` steps of a job run at a time; waits do not count."""
        self._lifecycle = lifecycle
        self._clock = clock or SystemClock()
        self._parallel = parallel
        self._plans = Plans()

    async def run(self, ctx: JobContext) -> Outcome:
        """Run or resume the job's workflow to its end; a success's output is `{"output": ...}`.

        Raises `unknown_field`, `invalid_input` (a definition that cannot be run here), and
        what the lease and the database raise.
        """
        body = ctx.job.definition
        plan = self._plans.get(body.get("definition"))  # type: ignore[arg-type]  # it refuses None
        check_runnable(plan, self._clock.now())
        run = _Run(ctx, self._lifecycle, self._clock, plan, body.get("input"), self._parallel)
        return _outcome(await run.to_end())


def _outcome(end: WorkflowEnd) -> Outcome:
    if end.status == "Success":
        return Outcome(True, {"output": end.output})
    body = end.error or {}
    code = str(body.get("code", Code.INTERNAL.value))
    error = app_error(code, str(body.get("message", "The workflow failed.")), body.get("hint"))
    error.details = {**error.details, **(body.get("details") or {})}
    return Outcome(False, {}, error)


class _Run:
    """One run of one job."""

    def __init__(
        self,
        ctx: JobContext,
        lifecycle: Lifecycle,
        clock: Clock,
        plan: Plan,
        given: Any,
        parallel: int,
    ) -> None:
        self._ctx = ctx
        self._lifecycle = lifecycle
        self._clock = clock
        self._executor = Executor(ctx, clock)
        self._plan = plan
        self._input = given
        self._parallel = parallel
        self._results: dict[str, StepResult] = {}
        self._failures: dict[str, int] = {}
        self._dues: dict[str, datetime] = {}
        self._skipped: set[str] = set()
        self._working: dict[str, asyncio.Task[EndedStep]] = {}
        self._waiting: dict[str, asyncio.Task[EndedStep]] = {}

    async def to_end(self) -> WorkflowEnd:
        """Go on from what is stored. Raises what a step raises that is no result of it."""
        await self._load()
        ended: list[EndedStep] = []
        try:
            while True:
                state = self._advance()
                work = state.ready[: self._parallel - len(self._working)]
                await self._write([*ended, *self._follow(state)], work, state.waiting)
                if state.end is not None:
                    return state.end
                self._start(work, state.waiting)
                ended = await self._next()
        finally:
            await self._stop()

    async def _load(self) -> None:
        async with self._ctx.transaction() as uow:
            self._results = await store.load(uow, self._ctx.job.job_id)
            notes = await store.load_notes(uow, self._ctx.job.job_id)
        for kind, data in notes:
            if kind == RETRYING:
                self._failures[data["path"]] = data["attempt"]
            else:
                self._dues[data["path"]] = datetime.fromisoformat(data["until"])

    def _advance(self) -> Advance:
        running = self._working.keys() | self._waiting.keys()
        return advance(self._plan, self._input, self._results, running)

    def _follow(self, state: Advance) -> list[EndedStep]:
        """What has ended without being carried out: branches, maps, skipped steps."""
        self._results.update(state.settled)
        skipped = [path for path in state.skipped if path not in self._skipped]
        self._skipped.update(skipped)
        now = self._clock.now()
        found = {**state.settled, **dict.fromkeys(skipped, SKIPPED)}
        return [EndedStep(path, result, 1, now, now) for path, result in found.items()]

    async def _write(
        self, ended: list[EndedStep], work: list[ReadyStep], waiting: list[WaitingStep]
    ) -> None:
        """Store what has ended and tell what starts, in one transaction.

        A map's own list is not stored: it follows from its items and would double them.
        """
        if not (ended or work or waiting):
            return
        for wait in waiting:
            self._dues.setdefault(wait.path, self._executor.due(wait))
        async with self._ctx.transaction() as uow:
            if kept := [step for step in ended if step.result.errors is None]:
                job = self._ctx.job
                await store.save(uow, job.job_id, job.user_id, kept)
            for step in ended:
                await self._tell(uow, _ENDS[step.result.status], step.path, _told(step))
            for ready in work:
                data = {"kind": ready.kind, "target": ready.target}
                await self._tell(uow, "step.started", ready.path, data)
            for wait in waiting:
                until = {"until": self._dues[wait.path].isoformat()}
                await self._tell(uow, WAITING, wait.path, until)

    async def _tell(self, uow: UnitOfWork, kind: str, path: str, data: Mapping[str, Any]) -> None:
        once = f"step:{path}:{kind.removeprefix('step.')}"
        await self._lifecycle.append(uow, self._ctx.job, kind, {"path": path, **data}, once)

    def _start(self, work: list[ReadyStep], waiting: list[WaitingStep]) -> None:
        for step in work:
            failures = self._failures.get(step.path, 0)
            self._working[step.path] = _task(self._executor.work(step, failures))
        for wait in waiting:
            self._waiting[wait.path] = _task(self._executor.wait(wait, self._dues[wait.path]))

    async def _next(self) -> list[EndedStep]:
        """Wait until at least one step has ended.

        What ended beside a step that raised is written before its error goes on.
        """
        flying = self._working | self._waiting
        await asyncio.wait(flying.values(), return_when=asyncio.FIRST_COMPLETED)
        ended: list[EndedStep] = []
        fault: BaseException | None = None
        for path, task in flying.items():
            if not task.done():
                continue
            (self._working if path in self._working else self._waiting).pop(path)
            if (raised := _fault_of(task)) is not None:
                fault = fault or raised
                continue
            ended.append(task.result())
            self._results[path] = task.result().result
        if fault is not None:
            await self._write(ended, [], [])
            raise fault
        return ended

    async def _stop(self) -> None:
        """End what still runs: steps of a run that is over, lost or cancelled."""
        tasks = [*self._working.values(), *self._waiting.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _task(work: Coroutine[Any, Any, EndedStep]) -> asyncio.Task[EndedStep]:
    return asyncio.create_task(work, name="workflow-step")


def _fault_of(task: asyncio.Task[EndedStep]) -> BaseException | None:
    if task.cancelled():
        # Nobody here cancelled it; as a cancellation it would stop the run without a reason.
        return AppError(Code.INTERNAL, "A step was cancelled from inside.")
    return task.exception()


def _told(step: EndedStep) -> dict[str, Any]:
    if step.result.status == "Skipped":
        return {}
    seconds = (step.ended_at - step.started_at).total_seconds()
    data: dict[str, Any] = {"attempt": step.attempt, "duration_ms": round(seconds * 1000)}
    return data if step.result.error is None else {**data, "error": step.result.error}
