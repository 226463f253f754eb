"""Which results still hold when a workflow is run again from a step, or with another input."""

import re
from collections.abc import Collection, Mapping
from typing import Any

from app.kernel.errors import AppError, Code
from app.orchestration.workflow.plan import NodePlan, Plan, ScopePlan
from app.orchestration.workflow.steps import StepResult

_STEP = re.compile(r"([a-z][a-z0-9_]*)((?:\[\d+\])*)")
_EVERYTHING = "*"
Results = Mapping[str, StepResult]


def keep_upstream_of(plan: Plan, step: str, results: Results) -> dict[str, StepResult]:
    """The results without those of a step and of everything after it.

    `step` is a path: a node of the workflow, an item of a map (`align[3]`), or a step of an item
    (`align[3].score`). Raises `not_found` if the workflow has no such step.
    """
    levels = _levels(plan.root, step)
    return {path: result for path, result in results.items() if _is_kept(levels, path)}


def keep_unaffected_by(plan: Plan, changed: Collection[str], results: Results) -> Results:
    """The results without those of steps that read a changed field of the input, and after.

    `changed` are the names that `changed_fields` gives.
    """
    if not changed:
        return dict(results)
    touched = {None, *changed}
    readers = frozenset(
        node.name
        for node in plan.root.nodes
        if touched & node.inputs or (_EVERYTHING in changed and node.inputs)
    )
    gone = readers | plan.root.after(readers)
    return {path: result for path, result in results.items() if _head(path) not in gone}


def changed_fields(before: Any, after: Any) -> set[str]:
    """The top-level fields in which two inputs differ; `*` if they are not both objects."""
    if not isinstance(before, Mapping) or not isinstance(after, Mapping):
        return set() if before == after else {_EVERYTHING}
    missing = object()
    names = before.keys() | after.keys()
    return {name for name in names if before.get(name, missing) != after.get(name, missing)}


class _Level:
    """One part of a step's path: what is dropped in its scope."""

    def __init__(self, scope: ScopePlan, prefix: str, name: str, indices: str) -> None:
        self.prefix = prefix
        self.path = f"{prefix}{name}{indices}"
        self.name = name
        self.gone = scope.after(frozenset([name]))
        self.around = _around(f"{prefix}{name}", indices)


def _around(path: str, indices: str) -> set[str]:
    """The maps around an item: `m` and `m[1]` for `m[1][2]`."""
    found = set()
    for index in re.findall(r"\[\d+\]", indices):
        found.add(path)
        path += index
    return found


def _levels(scope: ScopePlan, step: str) -> list[_Level]:
    levels: list[_Level] = []
    inner: ScopePlan | None = scope
    prefix = ""
    for part in step.split("."):
        match = _STEP.fullmatch(part)
        if match is None or inner is None or match[1] not in inner.index:
            raise _no_step(step)
        levels.append(_Level(inner, prefix, match[1], match[2]))
        body = _body(inner.nodes[inner.index[match[1]]], match[2].count("["), step)
        inner = body if isinstance(body, ScopePlan) else None
        prefix = f"{levels[-1].path}."
    return levels


def _body(node: NodePlan, depth: int, step: str) -> NodePlan | ScopePlan | None:
    body: NodePlan | ScopePlan | None = node
    for _ in range(depth):
        if not isinstance(body, NodePlan) or body.body is None:
            raise _no_step(step)
        body = body.body
    return body


def _no_step(step: str) -> AppError:
    return AppError(
        Code.NOT_FOUND,
        f"The workflow has no step {step[:200]!r}.",
        hint="Steps are named like design, align[3] or align[3].score; the run's steps list them.",
    )


def _is_kept(levels: list[_Level], path: str) -> bool:
    for level in levels:
        if not path.startswith(level.prefix):
            return True
        head = _head(path[len(level.prefix) :])
        if head in level.gone or path in level.around or path == level.path:
            return False
        if head != level.name or not _is_within(path, level.path):
            return True
    # What belongs to the step itself.
    return False


def _is_within(path: str, whole: str) -> bool:
    return path == whole or path.startswith((f"{whole}.", f"{whole}["))


def _head(path: str) -> str:
    match = _STEP.match(path)
    return match[1] if match else path
