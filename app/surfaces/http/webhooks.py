"""Routes of webhooks: endpoints that are told the ends of jobs, and what they were sent."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from app.orchestration import DeliveryStatus
from app.surfaces.http.dependencies import PREFIX, Caller, Ops
from app.surfaces.webhooks import (
    DeliveryOut,
    DeliveryPage,
    SecretOut,
    WebhookChange,
    WebhookIn,
    WebhookMade,
    WebhookOut,
    WebhookPage,
)

router = APIRouter(prefix=PREFIX, tags=["webhooks"])
_Limit = Annotated[int, Query(ge=1, le=100)]
_Before = Annotated[UUID | None, Query(description="`next` of the page before.")]


@router.post("/webhooks", status_code=201)
async def create_webhook(ops: Ops, caller: Caller, body: WebhookIn) -> WebhookMade:
    """Add an endpoint; its secret is shown this once."""
    return await ops.webhooks.create(caller, body)


@router.get("/webhooks")
async def list_webhooks(
    ops: Ops, caller: Caller, limit: _Limit = 50, before: _Before = None
) -> WebhookPage:
    """The caller's endpoints, newest first."""
    return await ops.webhooks.page(caller, limit, before)


@router.get("/webhooks/{webhook_id}")
async def show_webhook(ops: Ops, caller: Caller, webhook_id: UUID) -> WebhookOut:
    """One endpoint."""
    return await ops.webhooks.show(caller, webhook_id)


@router.put("/webhooks/{webhook_id}")
async def change_webhook(
    ops: Ops, caller: Caller, webhook_id: UUID, body: WebhookChange
) -> WebhookOut:
    """Replace what an endpoint says; enabled again, its pending deliveries go on."""
    return await ops.webhooks.change(caller, webhook_id, body)


@router.post("/webhooks/{webhook_id}/rotate")
async def rotate_secret(ops: Ops, caller: Caller, webhook_id: UUID) -> SecretOut:
    """Make a new secret, shown this once; the old one signs as well for 24 hours."""
    return await ops.webhooks.rotate(caller, webhook_id)


@router.delete("/webhooks/{webhook_id}", status_code=204)
async def delete_webhook(ops: Ops, caller: Caller, webhook_id: UUID) -> None:
    """Delete an endpoint; nothing is sent to it any more."""
    await ops.webhooks.delete(caller, webhook_id)


@router.post("/webhooks/{webhook_id}/test", status_code=202)
async def test_webhook(ops: Ops, caller: Caller, webhook_id: UUID) -> DeliveryOut:
    """Send the event `webhook.ping`; what becomes of it is shown among the deliveries."""
    return await ops.webhooks.test(caller, webhook_id)


@router.get("/webhooks/{webhook_id}/deliveries")
async def list_deliveries(
    ops: Ops,
    caller: Caller,
    webhook_id: UUID,
    limit: _Limit = 50,
    before: _Before = None,
    status: Annotated[DeliveryStatus | None, Query(description="Only those.")] = None,
) -> DeliveryPage:
    """What the endpoint was sent in the last 30 days, newest first."""
    return await ops.webhooks.deliveries(caller, webhook_id, limit, before, status)


@router.post("/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver", status_code=202)
async def redeliver(ops: Ops, caller: Caller, webhook_id: UUID, delivery_id: UUID) -> DeliveryOut:
    """Send a message again at once, with the same `webhook-id`."""
    return await ops.webhooks.redeliver(caller, webhook_id, delivery_id)
