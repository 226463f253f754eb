"""Running the queue: schedules, dead letters, pauses, and what the queue holds."""

from app.orchestration.operations.cron import Cron
from app.orchestration.operations.deadletters import DeadLetters, bury
from app.orchestration.operations.queues import Queue, Queues, QueueState
from app.orchestration.operations.scheduler import Scheduler
from app.orchestration.operations.schedules import Schedules, preview
from app.orchestration.operations.types import (
    DeadLetter,
    MakesJob,
    Moment,
    Redriven,
    Schedule,
    ScheduleSpec,
)
from app.orchestration.operations.watch import Watch

__all__ = [
    "Cron",
    "DeadLetter",
    "DeadLetters",
    "MakesJob",
    "Moment",
    "Queue",
    "QueueState",
    "Queues",
    "Redriven",
    "Schedule",
    "ScheduleSpec",
    "Scheduler",
    "Schedules",
    "Watch",
    "bury",
    "preview",
]
