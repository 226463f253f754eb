"""Orchestration: durable jobs, their queue, their worker and their trace."""

from app.orchestration.context import RunContext
from app.orchestration.intake import Intake
from app.orchestration.lifecycle import Lifecycle
from app.orchestration.service import Jobs
from app.orchestration.types import (
    Artifact,
    JobContext,
    JobEvent,
    JobHandler,
    JobRequest,
    JobView,
    Lease,
    Outcome,
    Submitted,
)
from app.orchestration.usage import living_jobs
from app.orchestration.worker import Worker
from app.orchestration.workflow.runnable import workflow_job
from app.orchestration.workflow.runner import WorkflowRunner

__all__ = [
    "Artifact",
    "Intake",
    "JobContext",
    "JobEvent",
    "JobHandler",
    "JobRequest",
    "JobView",
    "Jobs",
    "Lease",
    "Lifecycle",
    "Outcome",
    "RunContext",
    "Submitted",
    "Worker",
    "WorkflowRunner",
    "living_jobs",
    "workflow_job",
]
