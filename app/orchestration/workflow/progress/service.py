"""The facade of a run's steps: to look at them, and to hand them on to another run."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any
from uuid import UUID

from app.kernel.errors import AppError, Code
from app.kernel.uow import UnitOfWork
from app.orchestration.records import store as records
from app.orchestration.types import JobView
from app.orchestration.workflow.envelope import Envelope
from app.orchestration.workflow.plan import Plan
from app.orchestration.workflow.progress import store
from app.orchestration.workflow.progress.views import (
    NodeView,
    StepView,
    graph_of,
    paths_of,
    unseen,
    view_of,
)
from app.orchestration.workflow.steps import StepResult
from app.orchestration.workflow.validation import Plans

KIND = "workflow"
_AT_ONCE = 1000


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
        """A page of a job's steps; `after` is the last path of the page before.

        The order of the graph, items of maps by position. All nodes of the workflow are there,
        steps inside maps once they have begun.
        """
        plan, envelope = self.plan(job), Envelope.of(job.definition)
        found: list[StepView] = []
        left = _from(plan, after)
        while len(found) <= limit and (paths := list(islice(left, max(_AT_ONCE, limit + 1)))):
            found += await self._look(uow, job, plan, paths, envelope.kept)
        page = found[:limit]
        outputs: Mapping[str, Any] = {}
        if has_outputs:
            outputs = await store.outputs(uow, job.job_id, [step.path for step in page])
        more = page[-1].path if len(found) > limit else None
        return StepPage(graph_of(plan, envelope.prices or {}), page, outputs, more)

    async def _look(
        self, uow: UnitOfWork, job: JobView, plan: Plan, paths: list[str], kept: Sequence[str]
    ) -> list[StepView]:
        """Those of the steps that there are to see."""
        job_id, is_over, came = job.job_id, job.is_terminal, frozenset(kept)
        rows = await store.ended(uow, job_id, paths)
        notes = await store.notes(uow, job_id, [path for path in paths if path not in rows])
        nodes = {path: plan.root.nodes[at] for path, at in _roots(plan, paths)}
        maps = [path for path, node in nodes.items() if node.body and path not in rows]
        known = await store.maps(uow, job_id, maps) if maps else {}
        views = []
        for path in paths:
            view = view_of(path, rows.get(path), notes.get(path), came, is_over=is_over)
            if view is None and path in nodes:
                view = unseen(nodes[path], known.get(path), is_over=is_over)
            views += [] if view is None else [view]
        return views

    async def results(self, uow: UnitOfWork, job_id: UUID) -> dict[str, StepResult]:
        """The results of a job's steps by path."""
        return await store.results(uow, job_id)

    async def hand_on(
        self, uow: UnitOfWork, source: JobView, target: UUID, paths: Iterable[str]
    ) -> None:
        """Give a new job of the same user the results of another one, in one statement."""
        await records.copy_steps(uow, source.job_id, target, source.user_id, list(paths))


def _from(plan: Plan, after: str | None) -> Iterator[str]:
    """The paths of a plan's steps that follow a path."""
    paths = paths_of(plan)
    if after is not None and after not in paths:
        raise AppError(
            Code.INVALID_INPUT,
            f"There is no step {after[:200]!r} to go on from.",
            hint="Give the `next` of the page before as `after`.",
            details={"pointer": "/after"},
        )
    return paths


def _roots(plan: Plan, paths: Iterable[str]) -> list[tuple[str, int]]:
    return [(path, at) for path in paths if (at := plan.root.index.get(path)) is not None]
