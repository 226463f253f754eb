"""Which results a new run takes over from one that has ended. Pure; the copying is SQL's.

A replay does a step and everything after it again; a fork has another input or another
definition and does again what reads what has changed. Failures that ended the old run are never
taken over, or the new one would end with them at once.
"""

import re
from collections.abc import Mapping
from typing import Any

from app.orchestration.workflow.definition import Definition, Node
from app.orchestration.workflow.plan import NodePlan, Plan, ScopePlan
from app.orchestration.workflow.replay import (
    Results,
    changed_fields,
    keep_unaffected_by,
    keep_upstream_of,
)

_PART = re.compile(r"([a-z][a-z0-9_]*)((?:\[\d+\])*)")
_PLAIN = {"title": None, "meta": None}


def keep_for_replay(plan: Plan, from_step: str, results: Results) -> Results:
    """The results that a replay from a step takes over. Raises `not_found` for no such step."""
    return _without_fatal(plan, keep_upstream_of(plan, from_step, results))


def keep_for_fork(before: Plan, given: Any, after: Plan, changed: Any, results: Results) -> Results:
    """The results that a run of the plan `after` with the input `changed` takes over.

    A node that is new, or written differently, runs again with everything after it, and so does
    what reads a changed top-level field of the input.
    """
    old, new = _nodes(before.definition), _nodes(after.definition)
    again = frozenset(name for name in new if old.get(name) != new[name])
    gone = again | after.root.after(again)
    held = {
        path: result
        for path, result in results.items()
        if (head := _head(path)) in new and head not in gone
    }
    fields = changed_fields(given, changed)
    return _without_fatal(after, keep_unaffected_by(after, fields, held))


def _nodes(definition: Definition) -> dict[str, Node]:
    """The nodes without what changes nothing of a run."""
    return {name: node.model_copy(update=_PLAIN) for name, node in definition.nodes.items()}


def _without_fatal(plan: Plan, results: Results) -> Results:
    kept: Mapping[str, Any] = results
    for path, result in results.items():
        if result.status == "Failed" and path in kept and _is_fatal(plan, path):
            kept = keep_upstream_of(plan, path, kept)
    return kept


def _is_fatal(plan: Plan, path: str) -> bool:
    """Whether a failure of this step ends the workflow: nothing around it lets it go on."""
    inner: ScopePlan | NodePlan | None = plan.root
    for part in path.split("."):
        match = _PART.fullmatch(part)
        if match is None or not isinstance(inner, ScopePlan) or match[1] not in inner.index:
            return False
        inner = inner.nodes[inner.index[match[1]]]
        if not inner.must_succeed:
            return False
        for _ in range(match[2].count("[")):
            inner = inner.body if isinstance(inner, NodePlan) else None
            if inner is None or not inner.must_succeed:
                return False
    return True


def _head(path: str) -> str:
    match = _PART.match(path)
    return match[1] if match else path
