"""Who acts next: one pure function over the state. The graph and a restart both ask it."""

from typing import cast

from app.agents.types import MAX_ATTEMPTS, Role, RunState


def next_role(state: RunState) -> Role | None:
    """The role that goes on from this state; None when the run is over."""
    match state.get("last"):
        case None:
            return "planner"
        case "planner":
            return "retriever"
        case "retriever":
            return "coder"
        case "coder":
            return None if state.get("impossible") else "evaluator"
        case "evaluator":
            return _after_verdict(state)
        case "reporter":
            return None


def _after_verdict(state: RunState) -> Role | None:
    if state["verdict"] == "passed":
        return "reporter"
    return "coder" if state["attempt"] < MAX_ATTEMPTS else None


def attempt_of(role: Role, state: RunState) -> int:
    """Which attempt of `role` would start from this state, from 1."""
    tries = state.get("attempt", 0)
    if role == "coder":
        return tries + 1
    return tries if role == "evaluator" else 1


def merge(state: RunState, update: RunState) -> RunState:
    """The state after a role's update: its keys replace those of the state."""
    return cast(RunState, {**state, **update})


def reason_for(role: Role | None, state: RunState) -> str:
    """Why the run goes on with `role`, in words for the trace."""
    if state["last"] == "evaluator" and role == "coder":
        return "; ".join(state["refusals"][-1]["reasons"])
    reasons: dict[Role | None, str] = {
        "retriever": "the plan is made",
        "coder": "what the work needs is at hand",
        "evaluator": "a result is ready to be checked by another road",
        "reporter": "every check passed",
    }
    return reasons.get(role, "")
