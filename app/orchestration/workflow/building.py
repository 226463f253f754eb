"""Builds the plan of a definition of the right shape and notes every mistake of its graph."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from app.kernel.errors import Code
from app.orchestration.workflow import graph, limits
from app.orchestration.workflow.definition import (
    AgentNode,
    BranchNode,
    Definition,
    MapNode,
    Node,
    SandboxNode,
    SubDefinition,
    ToolNode,
    WaitNode,
    WorkNode,
)
from app.orchestration.workflow.expressions import Expression, ExpressionError
from app.orchestration.workflow.inputs import SchemaError, compile_schema
from app.orchestration.workflow.mistakes import Mistake, pointer_of
from app.orchestration.workflow.moments import parse_moment
from app.orchestration.workflow.plan import Edge, NodePlan, Plan, ScopePlan
from app.orchestration.workflow.values import Literal, Value, Whole, compile_value

_NODE_CODES = frozenset(Code)
_Place = tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class _View:
    """What expressions of a scope can name: steps, and `item` in so many maps.

    `times` is how often, at most, a node of the scope is carried out.
    """

    steps: frozenset[str] = frozenset()
    maps: int = 0
    times: int = 1


@dataclass(slots=True)
class _Uses:
    steps: set[str] = field(default_factory=set)
    inputs: set[str | None] = field(default_factory=set)

    def add(self, steps: Iterable[str], inputs: Iterable[str | None]) -> None:
        self.steps.update(steps)
        self.inputs.update(inputs)


def build(definition: Definition) -> tuple[Plan, list[Mistake]]:
    """The plan and the mistakes found on the way; with mistakes the plan is of no use."""
    builder = _Builder()
    plan = builder.build(definition)
    return plan, builder.mistakes


class _Builder:
    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []
        self._everywhere: set[str] = set()
        self._size = 0

    def build(self, definition: Definition) -> Plan:
        """See `build`."""
        names = list(_names(definition.nodes))
        self._everywhere = set(names)
        if len(names) > limits.NODES:
            words = f"a workflow has at most {limits.NODES} nodes, not {len(names)}."
            self._note(("nodes",), "too_many_nodes", words)
            return Plan(definition=definition, root=_NOTHING, size=0, input_check=None)
        root = self._scope(definition, ("nodes",), ("output",), _View(), _Uses())
        if self._size > limits.STEPS:
            words = (
                f"a run could have {self._size} steps, more than {limits.STEPS}; lower max_items."
            )
            self._note(("nodes",), "too_many_steps", words)
        check = None
        if definition.input_schema is not None:
            check = self._schema(definition.input_schema, ("input_schema",))
        return Plan(definition=definition, root=root, size=self._size, input_check=check)

    def _note(self, at: _Place, code: str, message: str) -> None:
        self.mistakes.append(Mistake(pointer_of(*at), code, message))

    def _schema(self, schema: Mapping[str, Any], at: _Place) -> Any:
        try:
            return compile_schema(schema)
        except SchemaError as error:
            self._note(at, "bad_schema", f"this JSON Schema cannot be used: {error}")
            return None

    # Scopes

    def _scope(
        self,
        scope: Definition | SubDefinition,
        at: _Place,
        output_at: _Place,
        outer: _View,
        uses: _Uses,
    ) -> ScopePlan:
        """Plan a scope; what it uses of the scopes around it is added to `uses`."""
        for name in outer.steps & scope.nodes.keys():
            words = f"'{name}' is the name of a node around this one; choose another."
            self._note((*at, name), "duplicate_name", words)
        view = _View(outer.steps | scope.nodes.keys(), outer.maps, outer.times)
        plans = {
            name: self._node(name, node, (*at, name), view) for name, node in scope.nodes.items()
        }
        mine = _Uses()
        output = None
        if scope.output is not None:
            output = self._value(scope.output, output_at, view, mine)
        for plan in plans.values():
            mine.add(plan.steps, plan.inputs)
        uses.add(mine.steps - plans.keys(), mine.inputs)
        edges = self._edges(scope.nodes, plans, at)
        nodes = tuple(plans[name] for name in self._order(edges, at))
        _connect(nodes, edges)
        return ScopePlan(nodes=nodes, output=output, ends=_ends(nodes, edges))

    def _edges(
        self, nodes: Mapping[str, Node], plans: Mapping[str, NodePlan], at: _Place
    ) -> dict[str, dict[tuple[str, bool], None]]:
        """For each node the nodes it waits for, and whether as an arm of a branch, in order."""
        edges: dict[str, dict[tuple[str, bool], None]] = {name: {} for name in plans}
        for name, node in nodes.items():
            for position, source in enumerate(node.after):
                if self._is_known(source, (*at, name, "after", position), plans):
                    edges[name][source, False] = None
            edges[name].update(
                ((source, False), None) for source in plans if source in plans[name].steps
            )
            for place, target in _arm_targets(node):
                if self._is_known(target, (*at, name, "branch", *place), plans):
                    edges[target][name, True] = None
        return edges

    def _order(self, edges: Mapping[str, Mapping[tuple[str, bool], None]], at: _Place) -> list[str]:
        sources = {name: list({source: None for source, _ in edges[name]}) for name in edges}
        ordered = graph.order(sources)
        if len(ordered) == len(edges):
            return ordered
        knots = graph.knots(sources)
        written = list(edges)
        found = [graph.cycle(sources, knot) for knot in knots]
        for names in sorted(found, key=lambda names: written.index(names[0])):
            way = " -> ".join([*names, names[0]])
            self._note((*at, names[0]), "cycle", f"these nodes wait for each other: {way}.")
        stuck = set(edges) - set(ordered) - {name for knot in knots for name in knot}
        for name in sorted(stuck):
            words = f"'{name}' can never start: it waits for nodes that wait for each other."
            self._note((*at, name), "unreachable", words)
        return ordered

    # Nodes

    def _node(self, name: str, node: Node, at: _Place, view: _View) -> NodePlan:
        if not isinstance(node, MapNode):
            self._size += view.times
        uses = _Uses()
        plan = _KINDS[type(node)](self, node, at, view, uses)
        plan.name, plan.pointer = name, pointer_of(*at)
        if isinstance(node, WorkNode):
            self._work(node, plan, at, view, uses)
        if isinstance(node, WorkNode | MapNode | WaitNode):
            plan.must_succeed = node.on_error == "fail"
        plan.steps, plan.inputs = frozenset(uses.steps), frozenset(uses.inputs)
        return plan

    def _work(self, node: WorkNode, plan: NodePlan, at: _Place, view: _View, uses: _Uses) -> None:
        plan.retry, plan.timeout_s = node.retry, node.timeout_s
        if node.key is not None:
            plan.values["key"] = self._value(node.key, (*at, "key"), view, uses)
        for position, code in enumerate(node.retry.codes if node.retry else ()):
            if code not in _NODE_CODES:
                words = f"there is no error code '{code}'."
                self._note((*at, "retry", "codes", position), "unknown_code", words)

    def tool(self, node: ToolNode, at: _Place, view: _View, uses: _Uses) -> NodePlan:
        arguments = self._whole(node.arguments, (*at, "arguments"), view, uses)
        return _plan("tool", {"arguments": arguments}, node.tool)

    def agent(self, node: AgentNode, at: _Place, view: _View, uses: _Uses) -> NodePlan:
        agent, here = node.agent, (*at, "agent")
        values = {"input": self._whole(agent.input, (*here, "input"), view, uses)}
        if agent.task is not None:
            values["task"] = self._value(agent.task, (*here, "task"), view, uses)
        return _plan("agent", values, agent.template)

    def sandbox(self, node: SandboxNode, at: _Place, view: _View, uses: _Uses) -> NodePlan:
        sandbox, here = node.sandbox, (*at, "sandbox")
        raw = sandbox.model_dump(include={"requirements", "input_files", "input"})
        values = {key: self._value(raw[key], (*here, key), view, uses) for key in raw}
        is_whole = sandbox.code.startswith("${{") and sandbox.code.endswith("}}")
        values["code"] = (
            self._whole(sandbox.code, (*here, "code"), view, uses)
            if is_whole
            else Literal(sandbox.code)
        )
        return _plan("sandbox", values)

    def wait(self, node: WaitNode, at: _Place, view: _View, uses: _Uses) -> NodePlan:
        wait, here = node.wait, (*at, "wait")
        if wait.approval is not None:
            approval, here = wait.approval, (*here, "approval")
            plan = _plan(
                "wait", {"title": self._value(approval.title, (*here, "title"), view, uses)}
            )
            self._schema(approval.form, (*here, "form"))
            plan.form, plan.timeout_s = approval.form, approval.timeout_s
            return plan
        if wait.until is None:
            seconds = self._whole(wait.seconds, (*here, "seconds"), view, uses)
            return _plan("wait", {"seconds": seconds})
        until = self._whole(wait.until, (*here, "until"), view, uses, may_be_text=True)
        if isinstance(until, Literal):
            self._moment(wait.until, (*here, "until"))
        return _plan("wait", {"until": until})

    def branch(self, node: BranchNode, at: _Place, view: _View, uses: _Uses) -> NodePlan:
        values = {
            str(position): self._whole(arm.if_, (*at, "branch", "when", position, "if"), view, uses)
            for position, arm in enumerate(node.branch.when)
        }
        plan = _plan("branch", values)
        plan.arms = (*(tuple(arm.then) for arm in node.branch.when), tuple(node.branch.else_))
        return plan

    def map(self, node: MapNode, at: _Place, view: _View, uses: _Uses) -> NodePlan:
        each, here = node.map, (*at, "map")
        plan = _plan("map", {"over": self._whole(each.over, (*here, "over"), view, uses)})
        plan.max_items, plan.parallel = each.max_items, each.parallel
        if view.maps >= limits.DEPTH:
            self._note(here, "too_deep", f"maps nest at most {limits.DEPTH} deep.")
        inside = _View(view.steps, view.maps + 1, view.times * each.max_items)
        do, here = each.do, (*here, "do")
        if isinstance(do, SubDefinition):
            plan.body = self._scope(do, (*here, "nodes"), (*here, "output"), inside, uses)
            plan.body.must_succeed = do.on_error == "fail"
            return plan
        if do.after:
            words = "what a map does waits for nothing; put `after` on the map itself."
            self._note((*here, "after"), "invalid_value", words)
        plan.body = self._node("", do, here, inside)
        uses.add(plan.body.steps, plan.body.inputs)
        return plan

    # Values

    def _whole(
        self, raw: Any, at: _Place, view: _View, uses: _Uses, *, may_be_text: bool = False
    ) -> Value:
        """A value that, if it is a string, is one expression with nothing around it."""
        before = len(self.mistakes)
        value = self._value(raw, at, view, uses)
        is_fine = isinstance(value, Whole) or (may_be_text and isinstance(value, Literal))
        if isinstance(raw, str) and not is_fine and len(self.mistakes) == before:
            words = "this is one expression, with nothing before or after it."
            self._note(at, "invalid_value", words)
        return value

    def _value(self, raw: Any, at: _Place, view: _View, uses: _Uses) -> Value:
        def report(place: _Place, reason: str) -> None:
            self._note((*at, *place), "bad_expression", reason)

        value = compile_value(raw, report)
        for place, expression in value.expressions():
            self._check(expression, (*at, *place), view)
            uses.add(expression.steps, expression.inputs)
        return value

    def _check(self, expression: Expression, at: _Place, view: _View) -> None:
        for name in sorted(expression.steps):
            self._is_known(name, at, view.steps)
        for root, maps in (("item", 1), ("index", 1), ("parent", 2)):
            if root in expression.roots and view.maps < maps:
                words = f"'{root}' is known only inside {'a map' if maps == 1 else 'two maps'}."
                self._note(at, "unknown_reference", words)

    def _is_known(self, name: str, at: _Place, known: Iterable[str]) -> bool:
        if name in known:
            return True
        if name in self._everywhere:
            words = f"the step '{name}' is not upstream of this: it belongs to another map's steps."
            self._note(at, "not_upstream", words)
            return False
        near = get_close_matches(name[:64], list(known), n=1)
        also = f" Did you mean '{near[0]}'?" if near else ""
        self._note(at, "unknown_reference", f"there is no step '{name[:64]}'.{also}")
        return False

    def _moment(self, text: str, at: _Place) -> None:
        try:
            parse_moment(text)
        except ExpressionError as error:
            self._note(at, "invalid_value", str(error))


_NOTHING = ScopePlan(nodes=(), output=None, ends=())
_KINDS: Mapping[type[Node], Callable[..., NodePlan]] = {
    ToolNode: _Builder.tool,
    AgentNode: _Builder.agent,
    SandboxNode: _Builder.sandbox,
    WaitNode: _Builder.wait,
    BranchNode: _Builder.branch,
    MapNode: _Builder.map,
}


def _plan(kind: Any, values: dict[str, Value], target: str | None = None) -> NodePlan:
    return NodePlan(name="", kind=kind, pointer="", values=values, target=target)


def _names(nodes: Mapping[str, Node]) -> Iterator[str]:
    """The name of every node; a map's nameless body counts as one too."""
    stack: list[tuple[str, Node]] = list(nodes.items())
    while stack:
        name, node = stack.pop()
        yield name
        if not isinstance(node, MapNode):
            continue
        if isinstance(node.map.do, SubDefinition):
            stack.extend(node.map.do.nodes.items())
        else:
            stack.append(("", node.map.do))


def _arm_targets(node: Node) -> Iterator[tuple[_Place, str]]:
    if isinstance(node, BranchNode):
        for position, arm in enumerate(node.branch.when):
            yield from ((("when", position, "then", i), name) for i, name in enumerate(arm.then))
        yield from ((("else", i), name) for i, name in enumerate(node.branch.else_))


def _connect(
    nodes: tuple[NodePlan, ...], edges: Mapping[str, Mapping[tuple[str, bool], None]]
) -> None:
    index = {node.name: position for position, node in enumerate(nodes)}
    for node in nodes:
        node.edges = tuple(Edge(index[source], is_arm) for source, is_arm in edges[node.name])
        for source, _ in node.edges:
            node.ancestors |= nodes[source].ancestors | 1 << source


def _ends(
    nodes: tuple[NodePlan, ...], edges: Mapping[str, Mapping[tuple[str, bool], None]]
) -> tuple[str, ...]:
    waited_for = {source for waits_for in edges.values() for source, _ in waits_for}
    return tuple(
        node.name for node in nodes if node.name not in waited_for and node.kind != "branch"
    )
