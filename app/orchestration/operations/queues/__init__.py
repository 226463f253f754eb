"""The queue as a whole: its depth, and its pauses."""

from app.orchestration.operations.queues.service import Queue, Queues, QueueState, show

__all__ = ["Queue", "QueueState", "Queues", "show"]
