"""What of a valid definition is run, and the job that it makes.

Concurrency keys and agents for free tasks are part of the format but refused before anything is
held or charged.
"""

from collections.abc import Iterator
from typing import Any

from app.orchestration.workflow.inputs import check_input
from app.orchestration.workflow.mistakes import Mistake, refusal
from app.orchestration.workflow.plan import NodePlan, Plan
from app.orchestration.workflow.validation import Resolve, check

NOT_SUPPORTED = "not_supported"


def workflow_job(raw: Any, given: Any, *, tool: Resolve, template: Resolve) -> dict[str, Any]:
    """The `definition` of a job of kind `workflow` that runs `raw` with the input `given`.

    Raises what `check` and `check_input` raise, and `invalid_input` with the mistake
    `not_supported` for what no worker runs.
    """
    plan = check(raw, tool=tool, template=template)
    check_supported(plan)
    check_input(plan, given)
    return {"definition": raw, "input": given}


def check_supported(plan: Plan) -> None:
    """Raise `invalid_input` if the plan has nodes that no worker can run."""
    found = [
        Mistake(node.pointer + place, NOT_SUPPORTED, words)
        for node in plan.walk()
        for place, words in _unknown(node)
    ]
    if found:
        raise refusal(found)


def _unknown(node: NodePlan) -> Iterator[tuple[str, str]]:
    if node.kind == "agent" and node.target is None:
        yield "/agent/task", "there are no agents for free tasks; name a template."
    if node.kind != "wait" and "key" in node.values:
        yield "/key", "steps have no concurrency keys; leave it out."
