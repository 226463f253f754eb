"""What of a valid definition this server runs, and the job that it makes.

A run stays with its worker while it waits, so no single pause may be long; agents, approvals
and concurrency keys are part of the format but refused before anything is held or charged.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from app.orchestration.workflow.definition import Retry
from app.orchestration.workflow.inputs import check_input
from app.orchestration.workflow.mistakes import Mistake, refusal
from app.orchestration.workflow.moments import parse_moment
from app.orchestration.workflow.plan import NodePlan, Plan
from app.orchestration.workflow.validation import Resolve, check
from app.orchestration.workflow.values import Literal

LONGEST_PAUSE_S = 60.0
NOT_SUPPORTED = "not_supported"


def workflow_job(
    raw: Any, given: Any, *, tool: Resolve, template: Resolve, now: datetime
) -> dict[str, Any]:
    """The `definition` of a job of kind `workflow` that runs `raw` with the input `given`.

    Raises what `check` and `check_input` raise, and `invalid_input` with the mistake
    `not_supported` for what this server does not run.
    """
    plan = check(raw, tool=tool, template=template)
    check_runnable(plan, now)
    check_input(plan, given)
    return {"definition": raw, "input": given}


def check_runnable(plan: Plan, now: datetime) -> None:
    """Raise `invalid_input` if the plan has nodes that cannot be run here."""
    found = [
        Mistake(node.pointer + place, NOT_SUPPORTED, words)
        for node in plan.walk()
        for place, words in _unsupported(node, now)
    ]
    if found:
        raise refusal(found)


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


def _unsupported(node: NodePlan, now: datetime) -> Iterator[tuple[str, str]]:
    if node.kind == "agent":
        yield "/agent", "agents do not run as steps; submit the task as a job of its own."
    if node.kind == "wait" and "title" in node.values:
        yield "/wait/approval", "runs cannot wait for a person; split the workflow in two."
    if node.kind != "wait" and "key" in node.values:
        yield "/key", "steps have no concurrency keys; leave it out."
    if (pause := _pause(node.values, now)) is not None and pause > LONGEST_PAUSE_S:
        yield "/wait", f"a run waits at most {LONGEST_PAUSE_S:g} s at a time."
    if node.retry is not None and (longest := _longest_backoff(node.retry)) > LONGEST_PAUSE_S:
        words = f"the last try would come {longest:g} s after the one before, not within"
        yield "/retry", f"{words} {LONGEST_PAUSE_S:g} s; lower max_attempts or backoff_s."


def _pause(values: Mapping[str, Any], now: datetime) -> float | None:
    """Seconds of a wait that are known beforehand."""
    seconds, until = values.get("seconds"), values.get("until")
    if isinstance(seconds, Literal):
        return float(seconds.value)
    if isinstance(until, Literal):
        return (parse_moment(until.value) - now).total_seconds()
    return None


def _longest_backoff(retry: Retry) -> float:
    if retry.max_attempts == 1:
        return 0.0
    return float(retry.backoff_s * 2.0 ** (retry.max_attempts - 2))
