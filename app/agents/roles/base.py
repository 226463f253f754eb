"""What a role is given and what it gives back."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from app.agents.template import TaskTemplate
from app.agents.types import JSON, RoleContext, RunState, RunStatus


@dataclass(frozen=True, slots=True)
class Work:
    """A role's update of the state, how it ended, and one sentence for the trace."""

    update: RunState
    summary: str
    status: RunStatus = "Success"


StoreFile = Callable[[bytes], Awaitable[JSON]]
Driver = Callable[[TaskTemplate, RoleContext, RunState, StoreFile], Awaitable[Work]]
