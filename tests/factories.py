"""One factory per table: the least row that the table accepts, and the rows it refers to."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Table, insert

from app.agents.tables import AgentRunRow
from app.auth.tables import ApiKeyRow, McpTicketRow, ProjectRow, UserIdentityRow, UserRow
from app.billing.blocks.tables import CallChargeRow
from app.billing.tables import (
    HoldRow,
    PricingPlanRow,
    SettlementRow,
    TransferRow,
    UsageEventRow,
    WalletRow,
)
from app.billing.usage.tables import JobHoldRow, UsageAccountRow, UsageRateRow
from app.kernel.rls import SCHEMA, Base
from app.kernel.tables import AuditRow, OutboxRow
from app.kernel.uow import UnitOfWork
from app.orchestration.limits.tables import JobLimitRow, JobSlotRow
from app.orchestration.operations.tables import (
    DeadLetterRow,
    JobScheduleRow,
    ScheduleMomentRow,
)
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
from app.proxy.oauth.tables import OAuthConnectionRow, OAuthFlowRow
from app.registry.discovery.tables import ToolIndex
from app.registry.servers.tables import McpServer, McpServerVersion, RegistryNotice
from app.registry.tables import McpTool, ToolVersion
from app.storage.tables import FileRow
from app.vault.tables import VaultSealedRow, VaultSecretRow

Values = dict[str, Any]

_NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def _user(user_id: UUID) -> Values:
    return {"user_id": user_id, "email": f"{user_id}@example.org"}


def _project(user_id: UUID) -> Values:
    return {"project_id": uuid4(), "user_id": user_id, "name": "Globins"}


def _api_key(user_id: UUID) -> Values:
    return {
        "key_id": uuid4(),
        "user_id": user_id,
        "name": "laptop",
        "prefix": "uaol_abc",
        "secret_hash": uuid4().bytes * 2,
        "scopes": ["jobs"],
    }


def _identity(user_id: UUID) -> Values:
    return {"issuer": "https://login.example", "subject": uuid4().hex, "user_id": user_id}


def _ticket(user_id: UUID) -> Values:
    return {
        "ticket_hash": uuid4().bytes * 2,
        "user_id": user_id,
        "scopes": ["jobs"],
        "client": "key",
        "expires_at": _NOON,
    }


def _wallet(user_id: UUID) -> Values:
    return {"user_id": user_id, "available_micro": 5_000_000, "granted_micro": 5_000_000}


def _hold(user_id: UUID) -> Values:
    return {"hold_id": uuid4(), "user_id": user_id, "amount_micro": 2_000_000}


def _settlement(user_id: UUID) -> Values:
    return {
        "hold_id": uuid4(),
        "user_id": user_id,
        "kind": "captured",
        "captured_micro": 2_000_000,
        "released_micro": 0,
    }


def _call_charge(user_id: UUID) -> Values:
    return {"call_id": uuid4(), "hold_id": uuid4(), "user_id": user_id, "amount_micro": 10_000}


def _transfer(user_id: UUID) -> Values:
    return {
        "transfer_id": uuid4(),
        "user_id": user_id,
        "debit": "platform",
        "credit": f"wallet:{user_id}",
        "amount_micro": 5_000_000,
        "cause_type": "grant",
        "cause_id": str(uuid4()),
    }


def _pricing_plan(_user_id: UUID) -> Values:
    return {
        "plan_id": uuid4(),
        "kind": "template",
        "name": f"task_{uuid4().hex}",
        "version": 1,
        "amount_micro": 2_000_000,
    }


def _usage_rate(_user_id: UUID) -> Values:
    return {
        "kind": "tool",
        "subject": "sequence.translate",
        "unit": "calls",
        "per_units": 1,
        "amount_micro": 10_000,
    }


def _usage_account(user_id: UUID) -> Values:
    return {
        "job_id": uuid4(),
        "user_id": user_id,
        "rates": [],
        "cap_micro": 4_000_000,
        "first_micro": 2_000_000,
        "held_micro": 2_000_000,
    }


def _job_hold(user_id: UUID) -> Values:
    return {"hold_id": uuid4(), "job_id": uuid4(), "user_id": user_id}


def _usage_event(user_id: UUID) -> Values:
    return {
        "usage_id": uuid4(),
        "user_id": user_id,
        "job_id": uuid4(),
        "key": "1",
        "kind": "tool",
        "subject": "sequence.translate",
    }


def _tool(_user_id: UUID) -> Values:
    return {
        "tool_id": uuid4(),
        "name": f"sequence.tool_{uuid4().hex}",
        "server": "sequence",
        "gateway_url": "stdio:sequence",
        "credit_cost_per_call": 10_000,
        "timeout_s": 30.0,
        "status": "Approved",
        "latest_version": 1,
    }


def _tool_version(_user_id: UUID) -> Values:
    return {"version": 1, "sha256": "0" * 64, "definition": {"name": "tool"}}


def _tool_index(_user_id: UUID) -> Values:
    return {
        "tool_name": f"sequence.tool_{uuid4().hex}",
        "digest": "0" * 64,
        "model": "test",
        "words": "'sequence'",
        "embedding": [1.0, 0.0],
    }


def _server(user_id: UUID) -> Values:
    slug = f"s{uuid4().hex[:20]}"
    return {
        "server_id": uuid4(),
        "user_id": user_id,
        "slug": slug,
        "name": f"org.example/{slug}",
        "offer": {"price_micro": 0, "timeout_s": None, "calls_per_minute": None, "tools": {}},
        "latest_version": 1,
    }


def _server_version(user_id: UUID) -> Values:
    return {"number": 1, "user_id": user_id, "version": "1.0.0", "document": {}, "address": {}}


def _notice(user_id: UUID) -> Values:
    return {
        "notice_id": uuid4(),
        "user_id": user_id,
        "slug": "lab",
        "kind": "registry.server_approved",
        "subject": "lab",
        "details": {},
    }


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
        "started_at": _NOON,
        "ended_at": _NOON,
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
    return {"moment": _NOON, "user_id": user_id, "outcome": "Skipped"}


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
        "started_at": _NOON,
        "duration_ms": 12,
        "output": {"plan": []},
    }


def _file(user_id: UUID) -> Values:
    return {
        "file_id": uuid4(),
        "user_id": user_id,
        "kind": "input",
        "name": "hbb.gb",
        "media_type": "text/plain",
        "size": 1,
        "sha256": "0" * 64,
    }


def _vault_secret(user_id: UUID) -> Values:
    return {
        "secret_id": uuid4(),
        "user_id": user_id,
        "scope": "user",
        "holder": user_id,
        "name": f"TOKEN_{uuid4().hex}",
        "version": 1,
    }


def _vault_sealed(_user_id: UUID) -> Values:
    return {"version": 1, "kek_id": "local:0", "wrapped": b"w" * 60, "ciphertext": b"c" * 40}


def _connection(user_id: UUID) -> Values:
    return {
        "user_id": user_id,
        "server": f"notes-{uuid4().hex}",
        "origin": "https://notes.example",
        "issuer": "https://as.example",
    }


def _flow(user_id: UUID) -> Values:
    return {
        "flow_id": uuid4(),
        "user_id": user_id,
        "server": "notes",
        "state_hash": uuid4().bytes * 2,
        "browser_hash": uuid4().bytes * 2,
        "kek_id": "local:0",
        "wrapped": b"w" * 60,
        "ciphertext": b"c" * 40,
        "expires_at": _NOON,
    }


def _outbox(_user_id: UUID) -> Values:
    return {"event_id": uuid4(), "name": "auth.user_created", "payload": {}}


def _audit(user_id: UUID) -> Values:
    return {
        "entry_id": uuid4(),
        "user_id": user_id,
        "actor": f"user:{user_id}",
        "action": "auth.key_issued",
        "subject": "key:1",
        "details": {},
    }


FACTORIES: dict[type[Base], Callable[[UUID], Values]] = {
    AgentRunRow: _run,
    ApiKeyRow: _api_key,
    AuditRow: _audit,
    DeadLetterRow: _dead_letter,
    FileRow: _file,
    HoldRow: _hold,
    JobHoldRow: _job_hold,
    JobEventRow: _event,
    JobKeyRow: _job_key,
    JobLimitRow: _limit,
    JobQueueRow: _queued,
    JobSlotRow: _slot,
    JobScheduleRow: _schedule,
    JobStepRow: _step,
    JobWaitRow: _wait,
    McpTicketRow: _ticket,
    McpServer: _server,
    McpServerVersion: _server_version,
    McpTool: _tool,
    OAuthConnectionRow: _connection,
    OAuthFlowRow: _flow,
    OutboxRow: _outbox,
    PricingPlanRow: _pricing_plan,
    ProcessingJobRow: _job,
    ProjectRow: _project,
    QueuePauseRow: _queue_pause,
    RegistryNotice: _notice,
    ScheduleMomentRow: _moment,
    SettlementRow: _settlement,
    CallChargeRow: _call_charge,
    ToolIndex: _tool_index,
    ToolVersion: _tool_version,
    TransferRow: _transfer,
    UsageAccountRow: _usage_account,
    UsageEventRow: _usage_event,
    UsageRateRow: _usage_rate,
    UserIdentityRow: _identity,
    UserRow: _user,
    VaultSealedRow: _vault_sealed,
    VaultSecretRow: _vault_secret,
    WalletRow: _wallet,
    WebhookDeliveryRow: _delivery,
    WebhookEndpointRow: _endpoint,
    WebhookSecretRow: _webhook_secret,
    WorkflowDefinitionRow: _saved,
}
_BY_TABLE = {row.__tablename__: make for row, make in FACTORIES.items()}


def table(name: str) -> Table:
    """A declared table by its name in our schema."""
    return Base.metadata.tables[f"{SCHEMA}.{name}"]


def values(name: str, user_id: UUID, **changes: Any) -> Values:
    """A row that a table accepts once the rows it refers to exist."""
    return {**_BY_TABLE[name](user_id), **changes}


async def create(uow: UnitOfWork, name: str, user_id: UUID, **changes: Any) -> Values:
    """Insert a row that belongs to a user, and what it must refer to; return what was given.

    The user's own row is inserted at its first need; every other row is a new one.
    """
    row = values(name, user_id, **changes)
    for column in table(name).columns:
        for key in column.foreign_keys:
            parent = key.column.table.name
            if column.nullable:
                continue
            if parent == UserRow.__tablename__:
                await _ensure_user(uow, row[column.name])
            elif column.name not in row:
                row[column.name] = (await create(uow, parent, user_id))[key.column.name]
    await uow.execute(insert(table(name)).values(row))
    return row


async def _ensure_user(uow: UnitOfWork, user_id: UUID) -> None:
    known = await uow.execute("select 1 from app.users where user_id = :id", {"id": user_id})
    if known.first() is None:
        await create(uow, UserRow.__tablename__, user_id)
