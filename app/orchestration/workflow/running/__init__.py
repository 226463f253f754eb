"""Runs of workflows: the lane of a worker that carries them, and what it takes to do so."""

from app.orchestration.workflow.running.lane import WorkflowLane
from app.orchestration.workflow.running.nodes import NodeRunner
from app.orchestration.workflow.running.records import Question

__all__ = ["NodeRunner", "Question", "WorkflowLane"]
