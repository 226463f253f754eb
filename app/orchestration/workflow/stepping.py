"""Stepping: from a plan and the results so far to what can be done next.

Pure, total and deterministic. Nothing has to be kept between calls, so that any worker can go on
with any run; what was started is known to the caller and given as `running`.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.kernel.errors import Code
from app.orchestration.workflow.expressions import Budget, ExpressionError
from app.orchestration.workflow.plan import NodePlan, Plan, ScopePlan
from app.orchestration.workflow.resolving import arm_taken, map_items, ready_step, waiting_step
from app.orchestration.workflow.scope import Scope
from app.orchestration.workflow.steps import (
    SKIPPED,
    Advance,
    ReadyStep,
    StepResult,
    WaitingStep,
    WorkflowEnd,
)

_PENDING, _RUN = -2, -1
_NO_BOUND = 1 << 62


@dataclass(slots=True)
class Window:
    """How much of a run is looked at: once `most` steps are ready, no more are made, and no items
    of maps are looked at that were not before. `opened` is kept by the caller between calls: how
    many items of a map, by its path, were looked at.
    """

    most: int = _NO_BOUND
    opened: dict[str, int] = field(default_factory=dict)


def advance(
    plan: Plan,
    workflow_input: Any,
    results: Mapping[str, StepResult],
    running: Collection[str] = frozenset(),
    window: Window | None = None,
) -> Advance:
    """What follows from these results.

    `running` are the paths of steps that were given out before: they are not given again, and
    their expressions are not evaluated. The first step, in the order of the graph, that failed
    and must not ends the workflow. The values given out are shared: they must not be changed.
    With a `window` only some of what is ready is given.
    """
    walk = _Walk(results, running, window or Window())
    result = walk.scope(plan.root, "", Scope(workflow_input), is_fatal=True)
    if result is None:
        return Advance(walk.ready, walk.waiting, walk.skipped, walk.settled, None)
    status = "Failed" if result.status == "Failed" else "Success"
    end = WorkflowEnd(status, result.output, result.error)  # type: ignore[arg-type]
    return Advance([], [], walk.skipped, walk.settled, end)


class _Walk:
    """One pass over the graph."""

    __slots__ = ("_results", "_running", "_window", "ready", "settled", "skipped", "waiting")

    def __init__(
        self, results: Mapping[str, StepResult], running: Collection[str], window: Window
    ) -> None:
        self._results = results
        self._running = running
        self._window = window
        self.ready: list[ReadyStep] = []
        self.waiting: list[WaitingStep] = []
        self.skipped: list[str] = []
        self.settled: dict[str, StepResult] = {}

    def scope(
        self, plan: ScopePlan, prefix: str, scope: Scope, *, is_fatal: bool
    ) -> StepResult | None:
        """The result of a scope, or None while steps of it are to be done.

        A fatal failure ends the workflow at once. One that others may see has to be the same in
        whatever order steps end: it counts when all nodes before it have ended.
        """
        began = len(self.ready), len(self.waiting)
        settled: list[StepResult | None] = []
        causes: list[int] = []
        is_done = True
        for node in plan.nodes:
            fate = _fate(node, plan, settled, causes)
            result: StepResult | None = None
            if fate >= 0:
                self.skipped.append(prefix + node.name)
                result = SKIPPED
            elif fate == _RUN:
                result = self._node(node, prefix + node.name, scope, is_fatal=is_fatal)
            settled.append(result)
            causes.append(max(fate, 0))
            if result is None:
                is_done = False
            elif result.status == "Failed" and node.must_succeed:
                return self._failure(prefix + node.name, result, began, is_done or is_fatal)
            else:
                scope.states[node.name] = result
        return _output(plan, scope, prefix) if is_done else None

    def _failure(
        self, path: str, result: StepResult, began: tuple[int, int], counts: bool
    ) -> StepResult | None:
        if not counts:
            return None
        del self.ready[began[0] :]
        del self.waiting[began[1] :]
        return _blame(path, result)

    def _node(
        self, node: NodePlan, path: str, scope: Scope, *, is_fatal: bool
    ) -> StepResult | None:
        if (known := self._results.get(path)) is not None:
            return known
        if path in self._running:
            return None
        try:
            result = _STEPS[node.kind](self, node, path, scope, is_fatal)
        except ExpressionError as error:
            result = _expression_failed(node.pointer, error)
        if result is not None:
            self.settled[path] = result
        return result

    def work(self, node: NodePlan, path: str, scope: Scope, _: bool) -> None:
        if len(self.ready) < self._window.most:
            self.ready.append(ready_step(node, path, scope))

    def wait(self, node: NodePlan, path: str, scope: Scope, _: bool) -> None:
        self.waiting.append(waiting_step(node, path, scope))

    def branch(self, node: NodePlan, path: str, scope: Scope, _: bool) -> StepResult:
        taken = arm_taken(node, scope)
        arm = "else" if taken == len(node.arms) - 1 else taken
        return StepResult("Success", {"arm": arm, "then": list(node.arms[taken])})

    def map(self, node: NodePlan, path: str, scope: Scope, is_fatal: bool) -> StepResult | None:
        began = len(self.ready), len(self.waiting)
        assert node.body is not None
        must_succeed, is_fatal = node.body.must_succeed, is_fatal and node.must_succeed
        outputs: list[Any] = []
        errors: list[Mapping[str, Any]] = []
        active = 0
        is_cut = False
        for index, item in enumerate(map_items(node, scope)):
            if active == node.parallel:
                break
            if is_cut := self._is_beyond(path, index):
                break
            at = f"{path}[{index}]"
            result = self._item(node.body, at, scope.inside(item, index), is_fatal and must_succeed)
            if result is None:
                active += 1
            elif result.status != "Failed":
                outputs.append(result.output)
            elif must_succeed:
                return self._failure(at, result, began, is_fatal or not active)
            else:
                outputs.append(None)
                errors.append({"index": index, "error": result.error})
        return None if active or is_cut else StepResult("Success", outputs, None, errors)

    def _is_beyond(self, path: str, index: int) -> bool:
        """Whether a map's item is not looked at now; else it is from now on."""
        if index < self._window.opened.get(path, 0):
            return False
        if len(self.ready) >= self._window.most:
            return True
        self._window.opened[path] = index + 1
        return False

    def _item(
        self, body: NodePlan | ScopePlan, path: str, scope: Scope, is_fatal: bool
    ) -> StepResult | None:
        if isinstance(body, NodePlan):
            return self._node(body, path, scope, is_fatal=is_fatal)
        if (known := self._results.get(path)) is not None:
            return known
        result = self.scope(body, f"{path}.", scope, is_fatal=is_fatal)
        if result is not None:
            self.settled[path] = result
        return result


_Step = Callable[[_Walk, NodePlan, str, Scope, bool], StepResult | None]
_STEPS: Mapping[str, _Step] = {
    "tool": _Walk.work,
    "agent": _Walk.work,
    "sandbox": _Walk.work,
    "wait": _Walk.wait,
    "branch": _Walk.branch,
    "map": _Walk.map,
}


def _fate(
    node: NodePlan, plan: ScopePlan, settled: list[StepResult | None], causes: list[int]
) -> int:
    """Whether a node is pending, runs, or is skipped: then the branches that did it, as bits.

    An edge is dead if its source was skipped or is a branch that took another arm. A node runs
    if no edge is dead, or if for each dead one a live one comes from another arm of a branch
    that did it: then the arms meet again in this node.
    """
    alive, dead = 0, []
    for source, is_arm in node.edges:
        result = settled[source]
        if result is None:
            return _PENDING
        if result.status == "Skipped":
            dead.append(causes[source])
        elif is_arm and node.name not in _taken(result):
            dead.append(1 << source)
        else:
            alive |= plan.nodes[source].ancestors | (1 << source if is_arm else 0)
    if all(branches & alive for branches in dead):
        return _RUN
    mask = 0
    for branches in dead:
        mask |= branches
    return mask


def _taken(result: StepResult) -> Collection[str]:
    return result.output.get("then", ()) if isinstance(result.output, Mapping) else ()


def _output(plan: ScopePlan, scope: Scope, prefix: str) -> StepResult:
    if plan.output is None:
        ends = {name: scope.states[name] for name in plan.ends}
        if len(ends) == 1:
            return StepResult("Success", next(iter(ends.values())).output)
        ran = {name: end.output for name, end in ends.items() if end.status != "Skipped"}
        return StepResult("Success", ran or None)
    try:
        return StepResult("Success", scope.resolve(plan.output, Budget()))
    except ExpressionError as error:
        return _expression_failed(f"{prefix}output", error)


def _expression_failed(where: str, error: ExpressionError) -> StepResult:
    body = {"code": Code.INVALID_INPUT.value, "message": str(error), "details": {"at": where}}
    return StepResult("Failed", None, body)


def _blame(path: str, result: StepResult) -> StepResult:
    """A failure that says which step it comes from; the innermost one is kept."""
    error = dict(result.error or {"code": Code.INTERNAL.value, "message": "The step failed."})
    details = dict(error.get("details") or {})
    details.setdefault("step", path)
    return StepResult("Failed", None, {**error, "details": details})
