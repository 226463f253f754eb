"""The evaluator checks the draft by another road. It passes the result or refuses it, no more.

Nothing is weighed: one failed check refuses. A check that could not run is shown as such.
"""

from app.agents.roles.base import StoreFile, Work
from app.agents.template import TaskTemplate
from app.agents.types import Check, Refusal, RoleContext, RunState

_KINDS = {"passed": "check.passed", "failed": "check.failed", "not_run": "check.not_run"}


async def evaluate(
    template: TaskTemplate, ctx: RoleContext, state: RunState, _store: StoreFile
) -> Work:
    """Run every check, show each in the trace, and give the verdict."""
    checks = await template.evaluate(ctx, state)
    for check in checks:
        data = {"check": check.name, "figure": check.figures, "reason": check.reason}
        await ctx.emit(_KINDS[check.status], data)
    failed = [check for check in checks if check.status == "failed"]
    listed = [_as_json(check) for check in checks]
    if not failed:
        ran = sum(check.status == "passed" for check in checks)
        update = RunState(checks=listed, verdict="passed")
        return Work(update, f"{ran} of {len(checks)} checks ran, and every one passed.")
    refusal = _refusal(ctx.attempt, failed)
    refusals = [*state.get("refusals", []), refusal._asdict()]
    update = RunState(checks=listed, verdict="refused", refusals=refusals)
    return Work(update, "Refused: " + "; ".join(refusal.reasons), "Refused")


def _refusal(attempt: int, failed: list[Check]) -> Refusal:
    reasons = [f"{check.name}: {check.reason}" for check in failed]
    guilty = {part for check in failed for part in check.guilty}
    return Refusal(attempt, reasons, sorted(guilty))


def _as_json(check: Check) -> dict[str, object]:
    return {**check._asdict(), "guilty": list(check.guilty)}
