"""Answers about workflows, the same over HTTP and MCP."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import Field

from app.kernel.errors import AppError
from app.orchestration import NodeView, Order, Question, SavedWorkflow, StepPage, StepView
from app.surfaces.views import View


class Mistake(View):
    """One mistake; `pointer` (RFC 6901) leads to it."""

    pointer: str
    code: str
    message: str


class PriceOut(View):
    """What one success of a tool or template costs."""

    target: str = Field(description="`tool:<name>` or `template:<name>`.")
    price_micro: int


class NodeOut(View):
    """A node of the graph. `[]` in a name stands for any item of a map."""

    node: str
    kind: Literal["tool", "agent", "sandbox", "map", "branch", "wait"]
    title: str | None
    target: str | None
    after: list[str] = Field(description="The nodes it waits for.")
    arms: list[list[str]] | None = Field(description="What a branch may choose, `else` last.")
    max_items: int | None
    price_micro: int

    @classmethod
    def many(cls, nodes: Sequence[NodeView]) -> list[Self]:
        """The view of a graph."""
        return [cls.model_validate(node) for node in nodes]


class CheckOut(View):
    """What is wrong with a workflow, or what it can cost. Nothing is held or queued."""

    is_valid: bool
    mistakes: list[Mistake] = Field(description="Of the definition, at most 100.")
    mistake_count: int
    input_mistakes: list[Mistake] = Field(description="Of the input, if one was given.")
    amount_micro: int | None = Field(
        None, description="What a run holds: the most it can cost. Without an input, any run."
    )
    max_steps: int | None = None
    prices: list[PriceOut] = Field(default_factory=list)
    input_schema: dict[str, Any] | None = None
    graph: list[NodeOut] = Field(default_factory=list)

    @classmethod
    def wrong(cls, error: AppError) -> Self:
        """The view of a refused definition."""
        found = [Mistake(**one) for one in error.details["errors"]]
        count = error.details.get("count", len(found))
        return cls(is_valid=False, mistakes=found, mistake_count=count, input_mistakes=[])

    @classmethod
    def of(cls, order: Order, amount: int, graph: Sequence[NodeView], wrong: list[Any]) -> Self:
        """The view of an order; `wrong` are the mistakes of the input."""
        prices = sorted(order.prices.items())
        return cls(
            is_valid=not wrong,
            mistakes=[],
            mistake_count=0,
            input_mistakes=[Mistake(**one) for one in wrong],
            amount_micro=None if wrong else amount,
            max_steps=order.plan.size,
            prices=[PriceOut(target=target, price_micro=price) for target, price in prices],
            input_schema=order.plan.definition.input_schema,
            graph=NodeOut.many(graph),
        )


class StepOut(View):
    """A step of a run."""

    path: str
    node: str
    state: Literal[
        "Pending",
        "Running",
        "Retrying",
        "Waiting",
        "Success",
        "Failed",
        "Skipped",
        "Stopped",
        "NotRun",
    ]
    attempt: int | None
    started_at: datetime | None
    ended_at: datetime | None
    duration_ms: int | None = None
    error: dict[str, Any] | None
    waits_for: dict[str, Any] | None = Field(description="`until`, or a question's `title`.")
    is_kept: bool = Field(description="Its result came from the run this one was made of.")
    output: Any = None

    @classmethod
    def shown(cls, step: StepView, output: Any) -> Self:
        """The view of a step with its output."""
        view = cls.model_validate(step)
        view.output = output
        if step.started_at is not None and step.ended_at is not None:
            view.duration_ms = round((step.ended_at - step.started_at).total_seconds() * 1000)
        return view


class StepsOut(View):
    """A run as its graph and its steps; pass `next` as `after` for more steps."""

    job_id: UUID
    status: str
    is_terminal: bool
    forked_from: UUID | None
    definition: dict[str, Any]
    graph: list[NodeOut]
    steps: list[StepOut]
    next: str | None

    @classmethod
    def of(cls, job: Any, page: StepPage) -> Self:
        """The view of a page of a job's steps."""
        return cls(
            job_id=job.job_id,
            status=job.status,
            is_terminal=job.is_terminal,
            forked_from=job.definition.get("forked_from"),
            definition=job.definition["definition"],
            graph=NodeOut.many(page.graph),
            steps=[StepOut.shown(step, page.outputs.get(step.path)) for step in page.steps],
            next=page.next,
        )


class QuestionOut(View):
    """What a run asks its owner. The answer must fit `form` (JSON Schema 2020-12)."""

    job_id: UUID
    path: str = Field(description="The step that asks.")
    title: str
    form: dict[str, Any]
    asked_at: datetime
    expires_at: datetime | None
    answer: Any = None
    answered_at: datetime | None

    @classmethod
    def of(cls, question: Question) -> Self:
        """The view of a question."""
        return cls.model_validate(question)


class QuestionsOut(View):
    """Open questions, the oldest first."""

    questions: list[QuestionOut]


class SavedOut(View):
    """A version of a saved workflow, without its definition."""

    name: str
    version: int
    title: str | None
    created_at: datetime


class WorkflowOut(SavedOut):
    """A version of a saved workflow."""

    definition: dict[str, Any]

    @classmethod
    def of(cls, saved: SavedWorkflow) -> Self:
        """The view of a saved workflow."""
        return cls.model_validate(saved)


class SavedPage(View):
    """Saved workflows; pass `next` for the page after."""

    workflows: list[SavedOut]
    next: str | int | None
