"""JMESPath expressions: compiled once, checked for what they refer to, evaluated within a budget.

JMESPath (jmespath.org) cannot loop, but its lists can be doubled again and again; every visit and
every value made is therefore paid from a `Budget`.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions
from jmespath.parser import Parser
from jmespath.visitor import Options, TreeInterpreter

from app.orchestration.workflow import limits

ROOTS = ("input", "steps", "item", "index", "parent")
_ROOT_NAMES = ", ".join(ROOTS)
_FAULTS = (ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError)
QUOTED = r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`(?:\\.|[^`\\])*`"""
"""What is quoted in JMESPath: raw strings, names, and JSON."""

_QUOTED = re.compile(QUOTED, re.DOTALL)
# The first child of these sees the whole scope, the others only what the first gave.
_PROJECTIONS = frozenset(["projection", "filter_projection", "value_projection"])
_NARROWING = _PROJECTIONS | {"subexpression", "pipe", "index_expression"}
_LEFT = _NARROWING - {"pipe"} | {"flatten"}


class ExpressionError(Exception):
    """An expression that cannot be compiled or evaluated; the message says why."""


class Budget:
    """What may still be spent on evaluation."""

    __slots__ = ("left",)

    def __init__(self, left: int = limits.EXPRESSION_WORK) -> None:
        self.left = left

    def spend(self, amount: int) -> None:
        """Pay, or raise `ExpressionError`."""
        self.left -= amount
        if self.left < 0:
            raise ExpressionError("The expressions of this step take too much work or space.")

    def weigh(self, value: Any) -> None:
        """Pay for a JSON value by its size as a tree. Raises for what is not JSON."""
        stack = [value]
        while stack:
            one = stack.pop()
            self.spend(1)
            if isinstance(one, str):
                self.spend(len(one) >> 4)
            elif isinstance(one, Mapping):
                self.spend(len(one) + sum(len(key) >> 4 for key in one))
                stack.extend(one.values())
            elif isinstance(one, list | tuple):
                self.spend(len(one))
                stack.extend(one)
            elif isinstance(one, float) and not math.isfinite(one):
                raise ExpressionError("The value is a number that JSON does not know.")
            elif one is not None and not isinstance(one, int | float):
                raise ExpressionError("The value is a function reference, not JSON.")


class _BudgetedFunctions(Functions):
    def __init__(self, budget: Budget) -> None:
        super().__init__()
        self._budget = budget

    def call_function(self, function_name: str, resolved_args: Iterable[Any]) -> Any:
        given = list(resolved_args)
        for argument in given:
            if isinstance(argument, str | list | dict):
                self._budget.weigh(argument)
        return super().call_function(function_name, given)


class _Interpreter(TreeInterpreter):
    def __init__(self, budget: Budget) -> None:
        super().__init__(Options(custom_functions=_BudgetedFunctions(budget)))
        self._budget = budget

    def visit(self, node: Any, *args: Any, **kwargs: Any) -> Any:
        self._budget.spend(1)
        return super().visit(node, *args, **kwargs)

    def visit_comparator(self, node: Any, value: Any) -> Any:
        sides = [self.visit(child, value) for child in node["children"]]
        if isinstance(sides[0], list | dict):
            self._budget.weigh(sides[0])
        known: Any = [{"type": "literal", "children": [], "value": side} for side in sides]
        compared: Any = {**node, "children": known}
        return super().visit_comparator(compared, value)

    def visit_flatten(self, node: Any, value: Any) -> Any:
        return self._paid(super().visit_flatten(node, value))

    def visit_slice(self, node: Any, value: Any) -> Any:
        return self._paid(super().visit_slice(node, value))

    def visit_multi_select_list(self, node: Any, value: Any) -> Any:
        return self._weighed(super().visit_multi_select_list(node, value))

    def visit_multi_select_dict(self, node: Any, value: Any) -> Any:
        return self._weighed(super().visit_multi_select_dict(node, value))

    def _paid(self, made: Any) -> Any:
        self._budget.spend(len(made) if isinstance(made, list) else 0)
        return made

    def _weighed(self, made: Any) -> Any:
        self._budget.weigh(made)
        return made


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled expression.

    `steps` are the steps it names; `inputs` the fields of the input it reads, None standing for
    the whole input; `roots` those of the scope's names it uses.
    """

    text: str
    steps: frozenset[str]
    inputs: frozenset[str | None]
    roots: frozenset[str]
    _tree: Any
    _path: tuple[str, ...] | None

    def evaluate(self, scope: Mapping[str, Any], budget: Budget) -> Any:
        """The value in this scope, as JSON; not a copy, so it must not be changed.

        Raises `ExpressionError` for a fault of the expression and when the budget is spent.
        """
        if self._path is not None:
            value: Any = scope
            for name in self._path:
                value = value.get(name) if isinstance(value, Mapping) else None
        else:
            value = self._interpret(scope, budget)
        budget.weigh(value)
        return value

    def _interpret(self, scope: Mapping[str, Any], budget: Budget) -> Any:
        try:
            return _Interpreter(budget).visit(self._tree, scope)
        except _FAULTS as error:
            raise ExpressionError(f"{self.text!r}: {_first_line(error)}") from error


@lru_cache(maxsize=2048)
def compile_expression(text: str) -> Expression:
    """Compile; raises `ExpressionError` with the reason, the place where JMESPath gives one."""
    stripped = text.strip()
    if not stripped:
        raise ExpressionError("The expression is empty.")
    if len(stripped) > limits.EXPRESSION_CHARS:
        raise ExpressionError(f"An expression has at most {limits.EXPRESSION_CHARS} characters.")
    try:
        _check_literals(stripped)
        tree = Parser().parse(stripped).parsed
    except _FAULTS as error:
        raise ExpressionError(f"{stripped[:200]!r}: {_first_line(error)}") from error
    _check_tree(tree)
    found = set(_references(tree))
    return Expression(
        stripped,
        frozenset(name for root, name in found if root == "steps" and name is not None),
        frozenset(name for root, name in found if root == "input"),
        frozenset(root for root, _ in found),
        tree,
        _plain_path(tree),
    )


def _check_literals(text: str) -> None:
    """JMESPath would take what is no JSON between backticks as a string, which hides mistakes."""
    for quoted in _QUOTED.finditer(text):
        if not quoted[0].startswith("`"):
            continue
        try:
            json.loads(quoted[0][1:-1].replace("\\`", "`"))
        except ValueError as error:
            raise ExpressionError(f"{quoted[0][:60]} is no JSON; texts are in '...'.") from error


def _first_line(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    lines = str(error).splitlines()
    if isinstance(error, JMESPathError) and lines:
        return lines[0].removesuffix(", for expression:")[:300]
    return type(error).__name__


def _children(node: Any) -> list[Any]:
    return [child for child in node["children"] if isinstance(child, dict)]


def _check_tree(tree: Any) -> None:
    level, depth = [tree], 0
    while level:
        depth += 1
        if depth > limits.EXPRESSION_DEPTH:
            raise ExpressionError(f"An expression nests at most {limits.EXPRESSION_DEPTH} deep.")
        for node in level:
            _check_node(node)
        level = [child for node in level for child in _children(node)]


def _check_node(node: Any) -> None:
    kind = node["type"]
    if kind == "function_expression":
        _check_call(node["value"], len(node["children"]))
    elif kind in _LEFT and node["children"][0]["type"] == "not_expression":
        raise ExpressionError("'!a.b' means '(!a).b' in JMESPath; write '!(a.b)'.")
    elif kind == "slice" and node["children"][2] == 0:
        raise ExpressionError("A slice's step is not 0.")


def _check_call(name: str, count: int) -> None:
    if name not in Functions.FUNCTION_TABLE:
        known = ", ".join(sorted(Functions.FUNCTION_TABLE))
        raise ExpressionError(f"There is no function {name}(); known are {known}.")
    signature: Any = Functions.FUNCTION_TABLE[name]["signature"]
    is_open = bool(signature and signature[-1].get("variadic"))
    if count < len(signature) or (count > len(signature) and not is_open):
        raise ExpressionError(f"{name}() takes {len(signature)} arguments, not {count}.")


def _references(tree: Any) -> Iterator[tuple[str, str | None]]:
    """(root, name after it) of every place that looks at the scope itself."""
    stack = [tree]
    while stack:
        node = stack.pop()
        kind, children = node["type"], _children(node)
        if kind in ("current", "identity"):
            raise ExpressionError(f"'@' is everything here; name one of {_ROOT_NAMES}.")
        if kind == "field":
            yield _root(node["value"], None)
        elif kind == "subexpression" and children[0]["type"] == "field":
            yield _root(children[0]["value"], _leftmost(children[1]))
        elif kind in _NARROWING:
            stack.append(children[0])
        elif kind != "expref":
            stack.extend(reversed(children))


def _root(name: str, after: str | None) -> tuple[str, str | None]:
    if name not in ROOTS:
        raise ExpressionError(
            f"There is no {name!r} here; an expression begins with {_ROOT_NAMES}."
        )
    if name == "steps" and after is None:
        raise ExpressionError("'steps' is followed by a step's name, as in steps.design.output.")
    return name, after


def _leftmost(node: Any) -> str | None:
    while node["type"] in _LEFT:
        node = node["children"][0]
    return str(node["value"]) if node["type"] == "field" else None


def _plain_path(tree: Any) -> tuple[str, ...] | None:
    """The names of a dotted path; such an expression needs no interpreter."""
    nodes = tree["children"] if tree["type"] == "subexpression" else [tree]
    if all(node["type"] == "field" for node in nodes):
        return tuple(node["value"] for node in nodes)
    return None
