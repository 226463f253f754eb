"""A run as a picture of its graph: every node, and every step with its state."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from app.orchestration.workflow.definition import Definition, MapNode, Node, SubDefinition
from app.orchestration.workflow.plan import NodePlan, Plan, ScopePlan
from app.orchestration.workflow.pricing import pattern_of, target_of
from app.orchestration.workflow.progress.store import MapNote, StepNote, StepRow

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


def paths_of(plan: Plan) -> Iterator[str]:
    """The paths of all steps that a run can have, in the order of the graph, items by position."""
    return _paths(plan.root, "")


def view_of(
    path: str, row: StepRow | None, note: StepNote | None, kept: Collection[str], *, is_over: bool
) -> StepView | None:
    """A step that has ended or begun; None for any other."""
    if row is not None:
        return _ended(row, kept)
    return None if note is None else _begun(note, is_over=is_over)


def unseen(node: NodePlan, note: MapNote | None, *, is_over: bool) -> StepView:
    """A node of the workflow without a row; of a map `note` may know more."""
    state: StepState = "NotRun" if is_over else "Pending"
    if note is None:
        return StepView(path=node.name, node=node.name, state=state)
    if note.told is not None:
        state = "Success" if note.told == "step.finished" else "Failed"
    elif note.started_at is not None:
        state = "Stopped" if is_over else "Running"
    return StepView(node.name, node.name, state, started_at=note.started_at)


def _ended(row: StepRow, kept: Collection[str]) -> StepView:
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


def _paths(scope: ScopePlan, prefix: str) -> Iterator[str]:
    for node in scope.nodes:
        yield from _paths_of_node(node, prefix + node.name)


def _paths_of_node(node: NodePlan, path: str) -> Iterator[str]:
    yield path
    if node.body is None:
        return
    for at in range(node.max_items):
        item = f"{path}[{at}]"
        if isinstance(node.body, NodePlan):
            yield from _paths_of_node(node.body, item)
        else:
            yield item
            yield from _paths(node.body, f"{item}.")


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
