"""What a workflow can cost, and what it did cost.

A step costs the price of its tool or template once it has succeeded; tries that failed cost
nothing. The hold is the cost of the dearest run that the definition and its input allow.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from app.orchestration.workflow.envelope import Envelope
from app.orchestration.workflow.expressions import Budget, ExpressionError
from app.orchestration.workflow.plan import NodePlan, Plan, ScopePlan
from app.orchestration.workflow.scope import Scope
from app.orchestration.workflow.steps import StepResult

SANDBOX_TOOL = "sandbox.run_python"
_WAYS = 1000
_POSITION = re.compile(r"\[\d+\]")
_KNOWN_AT_SUBMIT = frozenset({"input"})
ANY_INPUT = object()
"""In place of an input: the bound then holds for all of them."""


def target_of(node: NodePlan) -> str | None:
    """What the node is priced as: `tool:<name>`, `template:<name>`, None for what is free."""
    if node.kind == "sandbox":
        return f"tool:{SANDBOX_TOOL}"
    if node.target is None:
        return None
    return f"{'tool' if node.kind == 'tool' else 'template'}:{node.target}"


def targets_again(plan: Plan, kept: Collection[str]) -> set[str]:
    """What may be called by a run that takes these results over; of a map, all that it does."""
    nodes = [node for node in plan.root.nodes if node.name not in kept]
    return {target for node in nodes for _, target in _node_targets(node, node.name)}


def bound_micro(
    plan: Plan,
    given: Any,
    prices: Mapping[str, int],
    kept: Mapping[str, StepResult] | None = None,
    unpaid: Collection[str] = (),
) -> int:
    """The most that a run with this input can cost, in micro-credits.

    A map counts as often as its list is long if the input alone says so, else `max_items` times;
    of a branch's arms the dearest counts. Steps in `kept` are not done again and cost nothing but
    what is `unpaid` of them.
    """
    kept = kept or {}
    owed = {path: kept[path] for path in unpaid}
    rest = _Bound(given, prices, kept).of(plan.root, "", is_root=True)
    return rest + _sum_of(_prices_by_node(plan, prices), owed)


def cost_micro(plan: Plan, envelope: Envelope, results: Mapping[str, StepResult]) -> int:
    """The price of all steps that succeeded, without those that came with the job and are paid."""
    paid = frozenset(envelope.kept) - frozenset(envelope.unpaid)
    own = {path: result for path, result in results.items() if path not in paid}
    return _sum_of(_prices_by_node(plan, envelope.prices or {}), own)


def charge_micro(
    plan: Plan, body: Mapping[str, Any], results: Mapping[str, StepResult], *, is_success: bool
) -> int | None:
    """What a run that has ended is charged; None for the job's whole price, if it succeeded.

    `body` is the job's definition. In outcome mode a run that did not succeed is free; in usage
    mode the steps that did are charged however it ended.
    """
    envelope = Envelope.of(body)
    if envelope.prices is None:
        return None
    if not is_success and envelope.billing == "outcome":
        return 0
    return cost_micro(plan, envelope, results)


def unpaid_of(
    plan: Plan,
    body: Mapping[str, Any],
    results: Mapping[str, StepResult],
    charged_micro: int,
    kept: Collection[str],
) -> set[str]:
    """Those of the steps in `kept` that nobody was charged for, neither the run that they are taken
    from nor one that it took them from.

    `body` is the definition of that run, `results` are all its steps, `charged_micro` is what it
    was charged. A run is charged for all that it did or for nothing.
    """
    envelope = Envelope.of(body)
    # Without prices by step the run had one price for the whole.
    cost = 1 if envelope.prices is None else cost_micro(plan, envelope, results)
    if charged_micro >= cost:
        return set()
    return set(kept) - (set(envelope.kept) - set(envelope.unpaid))


def pattern_of(path: str) -> str:
    """A step's path without the positions of items: `align[].score` for `align[3].score`."""
    return _POSITION.sub("[]", path)


def _prices_by_node(plan: Plan, prices: Mapping[str, int]) -> dict[str, int]:
    return {pattern: prices.get(target, 0) for pattern, target in _targets(plan.root, "")}


def _sum_of(prices: Mapping[str, int], results: Mapping[str, StepResult]) -> int:
    done = [path for path, result in results.items() if result.status == "Success"]
    return sum(prices.get(pattern_of(path), 0) for path in done)


def _targets(scope: ScopePlan, prefix: str) -> Iterator[tuple[str, str]]:
    for node in scope.nodes:
        yield from _node_targets(node, prefix + node.name)


def _node_targets(node: NodePlan, pattern: str) -> Iterator[tuple[str, str]]:
    if isinstance(node.body, NodePlan):
        yield from _node_targets(node.body, f"{pattern}[]")
    elif node.body is not None:
        yield from _targets(node.body, f"{pattern}[].")
    elif (target := target_of(node)) is not None:
        yield pattern, target


class _Bound:
    """The dearest way through nested scopes."""

    def __init__(
        self, given: Any, prices: Mapping[str, int], kept: Mapping[str, StepResult]
    ) -> None:
        self._given = given
        self._prices = prices
        self._kept = kept
        self._paid = [pattern_of(path) for path, step in kept.items() if step.status == "Success"]

    def of(self, scope: ScopePlan, prefix: str, *, is_root: bool = False) -> int:
        """The dearest way through a scope, once."""
        costs = [self._cost(node, prefix + node.name) for node in scope.nodes]
        if is_root:
            costs = [
                0 if node.name in self._kept else self._left(node, cost)
                for node, cost in zip(scope.nodes, costs, strict=True)
            ]
        return _Ways(scope, costs, self._kept if is_root else {}).dearest()

    def _cost(self, node: NodePlan, pattern: str) -> int:
        if node.body is None:
            target = target_of(node)
            return 0 if target is None else self._prices.get(target, 0)
        if isinstance(node.body, NodePlan):
            once = self._cost(node.body, f"{pattern}[]")
        else:
            once = self.of(node.body, f"{pattern}[].")
        return once * self._times(node)

    def _times(self, node: NodePlan) -> int:
        """How often a map's body runs at most."""
        over = node.values["over"]
        known = frozenset() if self._given is ANY_INPUT else _KNOWN_AT_SUBMIT
        if any(not each.roots <= known for _, each in over.expressions()):
            return node.max_items
        try:
            found = Scope(self._given).resolve(over, Budget())
        except ExpressionError:
            return node.max_items
        return min(len(found), node.max_items) if isinstance(found, list) else 0

    def _left(self, node: NodePlan, cost: int) -> int:
        """A map's cost without that of the items' steps that are kept."""
        if node.body is None:
            return cost
        prices = {
            pattern: self._prices.get(target, 0)
            for pattern, target in _node_targets(node, node.name)
        }
        return max(0, cost - sum(prices.get(pattern, 0) for pattern in self._paid))


class _TooManyError(Exception):
    """More ways than are worth going."""


class _Ways:
    """The ways through a scope's branches: which nodes can run together in one run.

    Says the same of skipped nodes as stepping does. Where branches make too many ways, all nodes
    together are the bound.
    """

    def __init__(
        self, scope: ScopePlan, costs: list[int], decided: Mapping[str, StepResult]
    ) -> None:
        self._nodes = scope.nodes
        self._costs = costs
        self._decided = decided
        self._left = _WAYS

    def dearest(self) -> int:
        """The cost of the dearest way."""
        if not any(node.kind == "branch" for node in self._nodes):
            return sum(self._costs)
        try:
            return self._from(0, [], {})
        except _TooManyError:
            return sum(self._costs)

    def _from(self, start: int, fates: list[int], taken: dict[int, tuple[str, ...]]) -> int:
        self._left -= 1
        if self._left < 0:
            raise _TooManyError
        spent = 0
        for at in range(start, len(self._nodes)):
            node = self._nodes[at]
            fates.append(self._skipped_by(node, fates, taken))
            if fates[at]:
                continue
            spent += self._costs[at]
            if node.kind == "branch":
                arms = self._arms(node)
                return spent + max(self._from(at + 1, [*fates], {**taken, at: a}) for a in arms)
        return spent

    def _arms(self, node: NodePlan) -> set[tuple[str, ...]]:
        known = self._decided.get(node.name)
        if known is not None and isinstance(known.output, Mapping):
            return {tuple(known.output.get("then", ()))}
        return set(node.arms)

    def _skipped_by(
        self, node: NodePlan, fates: list[int], taken: Mapping[int, tuple[str, ...]]
    ) -> int:
        """The branches, as bits, that skip a node; 0 if it runs."""
        alive, dead = 0, []
        for source, is_arm in node.edges:
            if fates[source]:
                dead.append(fates[source])
            elif is_arm and node.name not in taken[source]:
                dead.append(1 << source)
            else:
                alive |= self._nodes[source].ancestors | (1 << source if is_arm else 0)
        if all(branches & alive for branches in dead):
            return 0
        mask = 0
        for branches in dead:
            mask |= branches
        return mask
