"""The coder makes a result. After a refusal it is told the reasons and what to leave out."""

from app.agents.roles.base import StoreFile, Work
from app.agents.template import TaskTemplate
from app.agents.types import Refusal, RoleContext, RunState


async def code(
    template: TaskTemplate, ctx: RoleContext, state: RunState, _store: StoreFile
) -> Work:
    """Make the draft of this attempt; `Failed` when the template says that none is possible."""
    refusals = [Refusal(**refusal) for refusal in state.get("refusals", [])]
    draft = await template.compute(ctx, state, refusals)
    update = RunState(draft=draft.result, impossible=draft.impossible, attempt=ctx.attempt)
    return Work(update, draft.summary, "Failed" if draft.impossible else "Success")
