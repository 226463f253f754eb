"""`webhooks.*`: endpoints that are told the ends of jobs."""

from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from app.kernel.principal import Scope
from app.orchestration import DeliveryStatus
from app.surfaces.mcp.calls import Call
from app.surfaces.mcp.owntools import OwnTool
from app.surfaces.operations import Operations
from app.surfaces.payloads import Payload
from app.surfaces.views import View
from app.surfaces.webhooks import (
    DeliveryOut,
    DeliveryPage,
    WebhookIn,
    WebhookMade,
    WebhookPage,
)

_JOBS = Scope.JOBS


class Paged(Payload):
    """A page of endpoints."""

    limit: Annotated[int, Field(ge=1, le=100)] = 50
    before: Annotated[UUID | None, Field(description="`next` of the page before.")] = None


class OneWebhook(Payload):
    """An endpoint's id."""

    webhook_id: UUID


class PagedDeliveries(Paged):
    """A page of an endpoint's deliveries."""

    webhook_id: UUID
    status: Annotated[DeliveryStatus | None, Field(description="Only those.")] = None


class DeletedWebhook(View):
    """The endpoint that is gone."""

    webhook_id: UUID


class WebhookTools:
    """The handlers, over the operations both doors share."""

    def __init__(self, operations: Operations) -> None:
        self._webhooks = operations.webhooks

    def tools(self) -> list[OwnTool[Any]]:
        """The tools of this family."""
        one = OneWebhook
        return [
            OwnTool("webhooks.create", _CREATE, WebhookIn, WebhookMade, _JOBS, self.create, False),
            OwnTool("webhooks.list", _LIST, Paged, WebhookPage, _JOBS, self.list),
            OwnTool("webhooks.test", _TEST, one, DeliveryOut, _JOBS, self.test, False),
            OwnTool("webhooks.delete", _DELETE, one, DeletedWebhook, _JOBS, self.delete, False),
            OwnTool(
                "webhooks.deliveries",
                _DELIVERIES,
                PagedDeliveries,
                DeliveryPage,
                _JOBS,
                self.deliveries,
            ),
        ]

    async def create(self, call: Call, given: WebhookIn) -> WebhookMade:
        """Add an endpoint."""
        return await self._webhooks.create(call.principal, given)

    async def list(self, call: Call, given: Paged) -> WebhookPage:
        """A page of endpoints."""
        return await self._webhooks.page(call.principal, given.limit, given.before)

    async def test(self, call: Call, given: OneWebhook) -> DeliveryOut:
        """Send an event about nothing."""
        return await self._webhooks.test(call.principal, given.webhook_id)

    async def delete(self, call: Call, given: OneWebhook) -> DeletedWebhook:
        """Delete an endpoint."""
        await self._webhooks.delete(call.principal, given.webhook_id)
        return DeletedWebhook(webhook_id=given.webhook_id)

    async def deliveries(self, call: Call, given: PagedDeliveries) -> DeliveryPage:
        """A page of deliveries."""
        return await self._webhooks.deliveries(
            call.principal, given.webhook_id, given.limit, given.before, given.status
        )


_CREATE = (
    "Add an https:// URL that jobs may name as their `webhook`: it is sent a signed message when"
    " such a job ends. The secret in the answer is shown once."
)
_LIST = "The caller's webhooks, newest first."
_TEST = "Send a webhook the event `webhook.ping`; see webhooks.deliveries for what becomes of it."
_DELETE = "Delete a webhook; nothing is sent to it any more."
_DELIVERIES = "What a webhook was sent in the last 30 days, newest first, and what became of it."
