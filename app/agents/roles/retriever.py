"""The retriever gathers what the work needs and states what will be searched."""

from app.agents.roles.base import StoreFile, Work
from app.agents.template import TaskTemplate
from app.agents.types import RoleContext, RunState


async def retrieve(
    template: TaskTemplate, ctx: RoleContext, state: RunState, _store: StoreFile
) -> Work:
    """Gather the material."""
    found = await template.retrieve(ctx, state)
    return Work(RunState(material=found.facts), found.summary)
