"""What an expression can see: the input, finished steps by name, and the item of a map."""

from collections.abc import Mapping
from typing import Any

from app.orchestration.workflow.expressions import Budget, Expression
from app.orchestration.workflow.steps import SKIPPED, StepResult
from app.orchestration.workflow.values import Value


class Scope:
    """The finished steps of a scope, and the scopes around it."""

    __slots__ = ("_around", "_index", "_input", "_item", "states")

    def __init__(
        self, workflow_input: Any, around: "Scope | None" = None, item: Any = None, index: int = -1
    ) -> None:
        self.states: dict[str, StepResult] = {}
        self._input = workflow_input
        self._around = around
        self._item = item
        self._index = index

    def inside(self, item: Any, index: int) -> "Scope":
        """The scope of one item of a map in this scope."""
        return Scope(self._input, self, item, index)

    def resolve(self, value: Value, budget: Budget) -> Any:
        """The JSON that a value stands for here. Raises `ExpressionError`."""
        return value.resolve(lambda each: each.evaluate(self._names(each), budget), budget)

    def _names(self, expression: Expression) -> Mapping[str, Any]:
        roots = expression.roots
        names: dict[str, Any] = {}
        if "input" in roots:
            names["input"] = self._input
        if "steps" in roots:
            names["steps"] = {name: self._find(name).as_dict() for name in expression.steps}
        if "item" in roots or "index" in roots:
            names["item"], names["index"] = self._item, self._index
        if "parent" in roots:
            names["parent"] = self._parent()
        return names

    def _find(self, name: str) -> StepResult:
        scope: Scope | None = self
        while scope is not None:
            if (found := scope.states.get(name)) is not None:
                return found
            scope = scope._around  # noqa: SLF001 - the same class
        return SKIPPED

    def _parent(self) -> Mapping[str, Any] | None:
        scope = self._around
        if scope is None or scope._around is None:  # noqa: SLF001 - the same class
            return None
        return {"item": scope._item, "index": scope._index, "parent": scope._parent()}  # noqa: SLF001
