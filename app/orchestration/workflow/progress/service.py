"""The facade of a run's steps: to look at them, and to hand them on to another run."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from app.kernel.errors import AppError, Code
from app.kernel.uow import UnitOfWork
from app.orchestration.types import JobView
from app.orchestration.workflow.envelope import Envelope
from app.orchestration.workflow.plan import Plan
from app.orchestration.workflow.progress import store
from app.orchestration.workflow.progress.views import NodeView, StepView, graph_of, steps_of
from app.orchestration.workflow.steps import StepResult
from app.orchestration.workflow.validation import Plans

KIND = "workflow"


@dataclass(frozen=True, slots=True)
class StepPage:
    """Steps in the order of the graph, their outputs by path, and the last path if more follow."""

    graph: list[NodeView]
    steps: list[StepView]
    outputs: Mapping[str, Any]
    next: str | None


class Progress:
    """What runs of workflows have done so far."""

    def __init__(self) -> None:
        self._plans = Plans()

    def plan(self, job: JobView) -> Plan:
        """The plan of a job; `conflict` for one of another kind."""
        if job.kind != KIND:
            raise AppError(
                Code.CONFLICT,
                f"Job {job.job_id} is of kind {job.kind} and has no steps.",
                hint="Only workflows have steps.",
            )
        return self._plans.get(Envelope.of(job.definition).definition)

    def graph(self, plan: Plan, prices: Mapping[str, int]) -> list[NodeView]:
        """The nodes of a plan, in the order of the graph."""
        return graph_of(plan, prices)

    async def steps(
        self,
        uow: UnitOfWork,
        job: JobView,
        *,
        limit: int,
        after: str | None = None,
        has_outputs: bool = True,
    ) -> StepPage:
        """A page of a job's steps; `after` is the last path of the page before."""
        plan, envelope = self.plan(job), Envelope.of(job.definition)
        rows = await store.ended(uow, job.job_id)
        notes = await store.notes(uow, job.job_id)
        kept = frozenset(envelope.kept)
        found = steps_of(plan, rows, notes, kept, is_over=job.is_terminal)
        start = _start(found, after)
        page = found[start : start + limit]
        outputs: Mapping[str, Any] = {}
        if has_outputs:
            outputs = await store.outputs(uow, job.job_id, [step.path for step in page])
        more = page[-1].path if start + limit < len(found) else None
        return StepPage(graph_of(plan, envelope.prices or {}), page, outputs, more)

    async def results(self, uow: UnitOfWork, job_id: UUID) -> dict[str, StepResult]:
        """The results of a job's steps by path."""
        return await store.results(uow, job_id)

    async def hand_on(
        self, uow: UnitOfWork, source: JobView, target: UUID, paths: Iterable[str]
    ) -> None:
        """Give a new job of the same user the results of another one, in one statement."""
        await store.copy(uow, source.job_id, target, source.user_id, list(paths))


def _start(steps: list[StepView], after: str | None) -> int:
    if after is None:
        return 0
    for at, step in enumerate(steps):
        if step.path == after:
            return at + 1
    raise AppError(Code.INVALID_INPUT, "This is not a step of the page before.")
