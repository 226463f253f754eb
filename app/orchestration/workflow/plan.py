"""The plan: a definition made ready for stepping. It is built once and never changes."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from jsonschema_rs import Draft202012Validator

from app.orchestration.workflow.definition import Definition, Retry
from app.orchestration.workflow.values import Value

Kind = Literal["tool", "agent", "sandbox", "map", "branch", "wait"]


class Edge(NamedTuple):
    """What a node waits for, by its position; `is_arm` if that is a branch that may choose it."""

    source: int
    is_arm: bool


@dataclass(slots=True, kw_only=True)
class NodePlan:
    """A node with its values compiled.

    `ancestors` has a bit per position of a node it comes after, directly or not. `steps` are the
    outer or own steps its expressions name, `inputs` the fields of the input they read, None
    standing for the whole.
    """

    name: str
    kind: Kind
    pointer: str
    values: dict[str, Value]
    steps: frozenset[str] = frozenset()
    inputs: frozenset[str | None] = frozenset()
    edges: tuple[Edge, ...] = ()
    ancestors: int = 0
    must_succeed: bool = True
    target: str | None = None
    retry: Retry | None = None
    timeout_s: float | None = None
    arms: tuple[tuple[str, ...], ...] = ()
    form: dict[str, Any] | None = None
    max_items: int = 0
    parallel: int = 0
    body: "NodePlan | ScopePlan | None" = None


@dataclass(slots=True, kw_only=True)
class ScopePlan:
    """Nodes in an order that never goes against an edge. `ends` are those nobody waits for."""

    nodes: tuple[NodePlan, ...]
    output: Value | None
    ends: tuple[str, ...]
    must_succeed: bool = True
    index: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.index = {node.name: position for position, node in enumerate(self.nodes)}

    def after(self, names: frozenset[str]) -> frozenset[str]:
        """The nodes that come after any of these."""
        mask = sum(1 << self.index[name] for name in names)
        return frozenset(node.name for node in self.nodes if node.ancestors & mask)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A checked definition. `size` is the largest number of steps a run of it can have."""

    definition: Definition
    root: ScopePlan
    size: int
    input_check: Draft202012Validator | None

    def walk(self) -> Iterator[NodePlan]:
        """Every node, those of sub-definitions included."""
        return _walk(self.root)


def _walk(scope: ScopePlan) -> Iterator[NodePlan]:
    stack: list[NodePlan] = list(reversed(scope.nodes))
    while stack:
        node = stack.pop()
        yield node
        if isinstance(node.body, NodePlan):
            stack.append(node.body)
        elif node.body is not None:
            stack.extend(reversed(node.body.nodes))
