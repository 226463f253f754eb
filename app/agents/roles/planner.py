"""The planner reads the input and says what will be done."""

from app.agents.roles.base import StoreFile, Work
from app.agents.template import TaskTemplate
from app.agents.types import RoleContext, RunState


async def plan(
    template: TaskTemplate, ctx: RoleContext, state: RunState, _store: StoreFile
) -> Work:
    """Make the plan; bad input ends the run here, before any long work."""
    made = await template.plan(ctx, state["input"])
    await ctx.emit("progress", {"done": 0, "total": len(made.steps), "message": made.summary})
    update = RunState(plan={"steps": made.steps, "facts": made.facts})
    return Work(update, f"{made.summary} Steps: " + " ".join(made.steps))
