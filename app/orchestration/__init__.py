"""Orchestration: durable jobs, their queue, their worker and their trace."""

from app.orchestration.context import RunContext
from app.orchestration.dispatch import Dispatcher, make_dispatcher
from app.orchestration.intake import Intake
from app.orchestration.lifecycle import JOBS_TOPIC, Lifecycle, job_topic, user_topic
from app.orchestration.limits import (
    Admission,
    JobLimits,
    Limit,
    LimitKeeper,
    LimitQueue,
    Numbers,
    read_name,
    shown_name,
)
from app.orchestration.operations import (
    DeadLetter,
    DeadLetters,
    Moment,
    Queue,
    Queues,
    QueueState,
    Redriven,
    Schedule,
    Scheduler,
    Schedules,
    ScheduleSpec,
    Watch,
    preview,
)
from app.orchestration.retention import Applied, Partition, Retention
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
    Standing,
    Submitted,
)
from app.orchestration.usage import audit, living_jobs
from app.orchestration.webhooks import (
    Deliverer,
    Delivery,
    DeliveryStatus,
    Endpoint,
    Sender,
    Webhooks,
)
from app.orchestration.worker import Worker
from app.orchestration.workflow import check as check_workflow
from app.orchestration.workflow import definition_schema
from app.orchestration.workflow.charging import StepCharges
from app.orchestration.workflow.doubles import refuse_doubles
from app.orchestration.workflow.envelope import Envelope
from app.orchestration.workflow.facade import Workflows
from app.orchestration.workflow.forking import keep_for_fork, keep_for_replay
from app.orchestration.workflow.library import Library, SavedWorkflow
from app.orchestration.workflow.orders import Agreement, Offer, Order, order_workflow, targets_of
from app.orchestration.workflow.pricing import targets_again, unpaid_of
from app.orchestration.workflow.progress import NodeView, Progress, StepPage, StepView
from app.orchestration.workflow.runnable import workflow_job
from app.orchestration.workflow.running import NodeRunner, Question, WorkflowLane
from app.orchestration.workflow.steps import StepResult

__all__ = [
    "JOBS_TOPIC",
    "Admission",
    "Agreement",
    "Applied",
    "Artifact",
    "DeadLetter",
    "DeadLetters",
    "Deliverer",
    "Delivery",
    "DeliveryStatus",
    "Dispatcher",
    "Endpoint",
    "Envelope",
    "Intake",
    "JobContext",
    "JobEvent",
    "JobHandler",
    "JobLimits",
    "JobRequest",
    "JobView",
    "Jobs",
    "Lease",
    "Library",
    "Lifecycle",
    "Limit",
    "LimitKeeper",
    "LimitQueue",
    "Moment",
    "NodeRunner",
    "NodeView",
    "Numbers",
    "Offer",
    "Order",
    "Outcome",
    "Partition",
    "Progress",
    "Question",
    "Queue",
    "QueueState",
    "Queues",
    "Redriven",
    "Retention",
    "RunContext",
    "SavedWorkflow",
    "Schedule",
    "ScheduleSpec",
    "Scheduler",
    "Schedules",
    "Sender",
    "Standing",
    "StepCharges",
    "StepPage",
    "StepResult",
    "StepView",
    "Submitted",
    "Watch",
    "Webhooks",
    "Worker",
    "WorkflowLane",
    "Workflows",
    "audit",
    "check_workflow",
    "definition_schema",
    "job_topic",
    "keep_for_fork",
    "keep_for_replay",
    "living_jobs",
    "make_dispatcher",
    "order_workflow",
    "preview",
    "read_name",
    "refuse_doubles",
    "shown_name",
    "targets_again",
    "targets_of",
    "unpaid_of",
    "user_topic",
    "workflow_job",
]
