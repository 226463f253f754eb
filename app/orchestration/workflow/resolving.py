"""Makes a step of a node: its expressions are evaluated and what they give is checked."""

from typing import Any

import orjson

from app.orchestration.workflow import limits
from app.orchestration.workflow.expressions import Budget, ExpressionError
from app.orchestration.workflow.moments import parse_moment, parse_seconds
from app.orchestration.workflow.plan import NodePlan
from app.orchestration.workflow.scope import Scope
from app.orchestration.workflow.steps import ReadyStep, WaitingStep
from app.orchestration.workflow.values import as_text

_PRELUDE = "inputs = __import__('json').loads({})\n"


def ready_step(node: NodePlan, path: str, scope: Scope) -> ReadyStep:
    """The step of a tool, agent or sandbox node. Raises `ExpressionError`."""
    budget = Budget()
    values = {name: scope.resolve(value, budget) for name, value in node.values.items()}
    task = _text(values.pop("task"), "The task") if "task" in values else None
    key = _key(values.pop("key", None))
    return ReadyStep(
        path=path,
        kind=node.kind,  # type: ignore[arg-type]  # only these kinds come here
        target=node.target,
        arguments=_arguments(node, values),
        task=task,
        key=key,
        retry=node.retry,
        timeout_s=node.timeout_s,
    )


def waiting_step(node: NodePlan, path: str, scope: Scope) -> WaitingStep:
    """The step of a wait node. Raises `ExpressionError`."""
    budget = Budget()
    values = {name: scope.resolve(value, budget) for name, value in node.values.items()}
    if "seconds" in values:
        return WaitingStep(path=path, seconds=parse_seconds(values["seconds"]))
    if "until" in values:
        return WaitingStep(path=path, until=parse_moment(values["until"]))
    title = as_text(values["title"])
    return WaitingStep(path=path, title=title, form=node.form, timeout_s=node.timeout_s)


def map_items(node: NodePlan, scope: Scope) -> list[Any]:
    """The list a map goes over. Raises `ExpressionError`."""
    found = scope.resolve(node.values["over"], Budget())
    if not isinstance(found, list):
        raise ExpressionError(f"A map goes over a list, not {_kind(found)}.")
    if len(found) > node.max_items:
        raise ExpressionError(
            f"The list has {len(found)} items, more than max_items, {node.max_items}."
        )
    return found


def arm_taken(node: NodePlan, scope: Scope) -> int:
    """The position of the first arm whose `if` is true; that after the last one is `else`."""
    budget = Budget()
    for position in range(len(node.values)):
        found = scope.resolve(node.values[str(position)], budget)
        # JMESPath's truth: 0 is true, what is empty is not.
        if found is not None and found is not False and found not in ("", [], {}):
            return position
    return len(node.values)


def _arguments(node: NodePlan, values: dict[str, Any]) -> dict[str, Any]:
    if node.kind == "sandbox":
        return _sandbox(values)
    (arguments,) = values.values()
    if not isinstance(arguments, dict):
        raise ExpressionError(f"The arguments are an object, not {_kind(arguments)}.")
    return arguments


def _sandbox(values: dict[str, Any]) -> dict[str, Any]:
    code, data = _text(values["code"], "The code"), values["input"]
    if data is not None:
        # Data reaches the code as data, so that no value can become code.
        code = _PRELUDE.format(ascii(orjson.dumps(data).decode())) + code
    arguments = {"code": code, "requirements": values["requirements"]}
    return {**arguments, "input_files": values["input_files"]}


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not value:
        raise ExpressionError(f"{what} is a text, not {_kind(value)}.")
    return value


def _key(value: Any) -> str | None:
    if value is None:
        return None
    text = as_text(value)
    if len(text) > limits.KEY_CHARS:
        raise ExpressionError(f"A concurrency key has at most {limits.KEY_CHARS} characters.")
    return text or None


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "a truth value", str: "a text", list: "a list", dict: "an object"}
    return names.get(type(value), "a number")
