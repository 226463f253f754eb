"""Jobs, what drives them and what they leave."""

from uuid import UUID, uuid4

from app.agents.tables import AgentRunRow
from app.orchestration.limits.tables import JobLimitRow, JobSlotRow
from app.orchestration.operations.tables import DeadLetterRow, JobScheduleRow, ScheduleMomentRow
from app.orchestration.tables import (
    JobEventRow,
    JobKeyRow,
    JobQueueRow,
    ProcessingJobRow,
    QueuePauseRow,
)
from app.orchestration.webhooks.tables import (
    WebhookDeliveryRow,
    WebhookEndpointRow,
    WebhookSecretRow,
)
from app.orchestration.workflow.library.tables import WorkflowDefinitionRow
from app.orchestration.workflow.tables import JobStepRow, JobWaitRow
from tests.factories.kind import NOON, Factory, Row, Values


def _job(user_id: UUID) -> Values:
    return {
        "job_id": uuid4(),
        "user_id": user_id,
        "kind": "task",
        "workflow_definition": {"template": "echo"},
        "price_micro": 2_000_000,
        "price_version": 1,
    }


def _job_key(user_id: UUID) -> Values:
    return {
        "user_id": user_id,
        "key": str(uuid4()),
        "job_id": uuid4(),
        "request_hash": uuid4().bytes * 2,
    }


def _queue_pause(_user_id: UUID) -> Values:
    return {"kind": str(uuid4())}


def _queued(user_id: UUID) -> Values:
    return {"job_id": uuid4(), "user_id": user_id, "kind": "task"}


def _limit(user_id: UUID) -> Values:
    name = f"key:{user_id}:{uuid4().hex}"
    return {"name": name, "user_id": user_id, "scope": "key", "max_running": 1}


def _slot(user_id: UUID) -> Values:
    return {"job_id": uuid4(), "name": f"key:{user_id}:k", "user_id": user_id, "is_held": True}


def _event(user_id: UUID) -> Values:
    return {
        "job_id": uuid4(),
        "seq": 1,
        "user_id": user_id,
        "kind": "job.submitted",
        "data": {"gene": "HBB"},
    }


def _step(user_id: UUID) -> Values:
    return {
        "job_id": uuid4(),
        "path": "align[3].score",
        "user_id": user_id,
        "attempt": 1,
        "status": "Success",
        "output": {"score": 1},
        "started_at": NOON,
        "ended_at": NOON,
    }


def _saved(user_id: UUID) -> Values:
    return {
        "user_id": user_id,
        "name": "translate",
        "version": 1,
        "definition": {"workflow": 1, "nodes": {"a": {"tool": "sequence.translate"}}},
    }


def _wait(user_id: UUID) -> Values:
    return {
        "job_id": uuid4(),
        "path": "approve",
        "user_id": user_id,
        "seq": 2,
        "title": "Order it?",
        "form": {"type": "object"},
    }


def _schedule(user_id: UUID) -> Values:
    return {
        "schedule_id": uuid4(),
        "user_id": user_id,
        "name": f"nightly {uuid4().hex}",
        "cron": "0 2 * * *",
        "job": {"tool": "sequence.translate", "arguments": {}},
    }


def _moment(user_id: UUID) -> Values:
    return {"moment": NOON, "user_id": user_id, "outcome": "Skipped"}


def _dead_letter(user_id: UUID) -> Values:
    return {
        "job_id": uuid4(),
        "user_id": user_id,
        "kind": "tool",
        "cause": "tool_timeout",
        "error": {"code": "attempts_exhausted"},
    }


def _endpoint(user_id: UUID) -> Values:
    return {"webhook_id": uuid4(), "user_id": user_id, "url": "https://hooks.example.org/uaol"}


def _webhook_secret(_user_id: UUID) -> Values:
    return {"key_id": "0" * 16, "sealed": uuid4().bytes * 4}


def _delivery(user_id: UUID) -> Values:
    return {
        "delivery_id": uuid4(),
        "webhook_id": uuid4(),
        "user_id": user_id,
        "type": "webhook.ping",
        "data": {},
    }


def _run(user_id: UUID) -> Values:
    return {
        "run_id": uuid4(),
        "job_id": uuid4(),
        "user_id": user_id,
        "step": 0,
        "role": "planner",
        "attempt": 1,
        "status": "Success",
        "started_at": NOON,
        "duration_ms": 12,
        "output": {"plan": []},
    }


FACTORIES: dict[Row, Factory] = {
    AgentRunRow: _run,
    DeadLetterRow: _dead_letter,
    JobEventRow: _event,
    JobKeyRow: _job_key,
    JobLimitRow: _limit,
    JobQueueRow: _queued,
    JobSlotRow: _slot,
    JobScheduleRow: _schedule,
    JobStepRow: _step,
    JobWaitRow: _wait,
    ProcessingJobRow: _job,
    QueuePauseRow: _queue_pause,
    ScheduleMomentRow: _moment,
    WebhookDeliveryRow: _delivery,
    WebhookEndpointRow: _endpoint,
    WebhookSecretRow: _webhook_secret,
    WorkflowDefinitionRow: _saved,
}
