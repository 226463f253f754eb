"""Agents: the five roles, their graph, and the task templates that drive them."""

from app.agents.nodes import AgentNodes
from app.agents.service import PutBytes, TaskRunner
from app.agents.template import TaskTemplate
from app.agents.templates import Templates
from app.agents.types import AgentRun, RunContext
from app.agents.walk import RunLedger

__all__ = [
    "AgentNodes",
    "AgentRun",
    "PutBytes",
    "RunContext",
    "RunLedger",
    "TaskRunner",
    "TaskTemplate",
    "Templates",
]
