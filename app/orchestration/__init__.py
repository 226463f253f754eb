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
from app.orchestration.worker import Worker

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
]
