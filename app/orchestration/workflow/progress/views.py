"""A run as a picture of its graph: every node, and every step with its state."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from app.orchestration.workflow.definition import Definition, MapNode, Node, SubDefinition
from app.orchestration.workflow.plan import NodePlan, Plan, ScopePlan
from app.orchestration.workflow.pricing import pattern_of, target_of
from app.orchestration.workflow.progress.store import StepNote, StepRow

StepState = Literal[
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
STEP_STATES: tuple[str, ...] = get_args(StepState)
_LIVE: Mapping[str, StepState] = {
    "step.started": "Running",
    "step.retrying": "Retrying",
    "step.waiting": "Waiting",
}
_POSITIONS = re.compile(r"\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node of the graph. `node` is a step's path with `[]` for any item of a map.

    `after` are the nodes it waits for; `arms` what a branch may choose, `else` last.
    """

    node: str
    kind: str
    title: str | None
    target: str | None
    after: list[str]
    arms: list[list[str]] | None
    max_items: int | None
    price_micro: int


@dataclass(frozen=True, slots=True)
class StepView:
    """A step of a run. `waits_for` is there while it waits: `until`, or a question's `title`."""

    path: str
    node: str
    state: StepState
    attempt: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    error: Mapping[str, Any] | None = None
    waits_for: Mapping[str, Any] | None = None
    is_kept: bool = False


def graph_of(plan: Plan, prices: Mapping[str, int]) -> list[NodeView]:
    """The nodes in an order that never goes against an edge; a map before what it does."""
    return list(_scope(plan.root, plan.definition, "", prices))


def steps_of(
    plan: Plan,
    rows: Sequence[StepRow],
    notes: Sequence[StepNote],
    kept: frozenset[str],
    *,
    is_over: bool,
) -> list[StepView]:
    """The steps: those that have ended or begun, and the workflow's nodes still to come.

    In the order of the graph, items by position. Steps inside a map are there once they begin.
    """
    views = {row.path: _ended(row, kept) for row in rows}
    for note in notes:
        if note.path not in views:
            views[note.path] = _begun(note, is_over=is_over)
    missing: StepState = "NotRun" if is_over else "Pending"
    for node in plan.root.nodes:
        if node.name not in views:
            views[node.name] = _unseen(node, views, missing)
    rank = {node.node: at for at, node in enumerate(graph_of(plan, {}))}
    return sorted(views.values(), key=lambda view: _place(view.path, rank))


def _ended(row: StepRow, kept: frozenset[str]) -> StepView:
    return StepView(
        path=row.path,
        node=pattern_of(row.path),
        state=row.status,  # type: ignore[arg-type]  # the table's check says which there are
        attempt=row.attempt,
        started_at=row.started_at,
        ended_at=row.ended_at,
        error=row.error,
        is_kept=row.path in kept,
    )


def _begun(note: StepNote, *, is_over: bool) -> StepView:
    state = "Stopped" if is_over else _LIVE[note.kind]
    waits = {name: note.data[name] for name in ("until", "title") if note.data.get(name)}
    return StepView(
        path=note.path,
        node=pattern_of(note.path),
        state=state,
        attempt=note.data.get("attempt", 1),
        started_at=note.first_at,
        error=note.data.get("error"),
        waits_for=waits if state == "Waiting" else None,
    )


def _unseen(node: NodePlan, views: Mapping[str, StepView], missing: StepState) -> StepView:
    """A node without a row. A map has none either, its state is that of its items."""
    inside = [view for path, view in views.items() if path.startswith(f"{node.name}[")]
    if not inside:
        return StepView(path=node.name, node=node.name, state=missing)
    states = {view.state for view in inside}
    state: StepState = "Stopped" if missing == "NotRun" else "Running"
    if states <= {"Success", "Skipped"} and missing == "NotRun":
        state = "Success"
    started = [view.started_at for view in inside if view.started_at is not None]
    return StepView(node.name, node.name, state, started_at=min(started, default=None))


def _place(path: str, rank: Mapping[str, int]) -> tuple[Any, ...]:
    """Where a step stands: by the node around it, then the item, then the node inside."""
    places: list[tuple[int, ...]] = []
    pattern = ""
    for part in path.split("."):
        pattern += pattern_of(part)
        name = pattern.removesuffix("[]" * part.count("["))
        places.append((rank.get(name, len(rank)), *map(int, _POSITIONS.findall(part))))
        pattern += "."
    return tuple(places)


def _scope(
    scope: ScopePlan,
    written: Definition | SubDefinition,
    prefix: str,
    prices: Mapping[str, int],
) -> Iterator[NodeView]:
    for node in scope.nodes:
        after = [prefix + scope.nodes[edge.source].name for edge in node.edges]
        given = written.nodes[node.name]
        yield from _node(node, given, prefix + node.name, list(dict.fromkeys(after)), prices)


def _node(
    node: NodePlan, written: Node, pattern: str, after: list[str], prices: Mapping[str, int]
) -> Iterator[NodeView]:
    target = target_of(node)
    prefix = pattern[: len(pattern) - len(node.name)] if node.name else ""
    yield NodeView(
        node=pattern,
        kind=node.kind,
        title=written.title,
        target=node.target,
        after=after,
        arms=[[prefix + name for name in arm] for arm in node.arms] or None,
        max_items=node.max_items or None,
        price_micro=0 if target is None else prices.get(target, 0),
    )
    if not isinstance(written, MapNode):
        return
    body = written.map.do
    if isinstance(node.body, NodePlan) and isinstance(body, Node):
        yield from _node(node.body, body, f"{pattern}[]", [], prices)
    elif isinstance(node.body, ScopePlan) and isinstance(body, SubDefinition):
        yield from _scope(node.body, body, f"{pattern}[].", prices)
