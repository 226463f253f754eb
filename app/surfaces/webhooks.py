"""What owners do with webhooks, written once for every door."""

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import Field, StringConstraints

from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal, Scope
from app.orchestration import Delivery, DeliveryStatus, Endpoint, Webhooks
from app.surfaces.context import Access
from app.surfaces.payloads import Payload, Text
from app.surfaces.services import Services
from app.surfaces.views import View

WebhookUrl = Annotated[
    Text,
    StringConstraints(min_length=1, max_length=2048),
    Field(
        description="An https:// URL of a host on the public internet.",
        examples=["https://hooks.example.org/uaol"],
    ),
]
WebhookText = Annotated[Text, StringConstraints(max_length=500)]


class WebhookIn(Payload):
    """An endpoint to add."""

    url: WebhookUrl
    description: WebhookText = ""


class WebhookChange(WebhookIn):
    """All that an endpoint says; what is left out goes back to its default."""

    is_enabled: Annotated[bool, Field(description="Send to it; pending deliveries go on.")] = True


class WebhookOut(View):
    """An endpoint that is told the ends of jobs that name it."""

    webhook_id: UUID
    url: str
    description: str
    is_enabled: bool
    disabled_reason: str | None
    failing_since: datetime | None = Field(description="Nothing was delivered since then.")
    created_at: datetime

    @classmethod
    def of(cls, endpoint: Endpoint) -> Self:
        """The view of an endpoint."""
        return cls.model_validate(endpoint)


class WebhookMade(WebhookOut):
    """A new endpoint with its secret."""

    secret: str = Field(description="Signs the messages. It is shown once.")


class SecretOut(View):
    """A new secret; the one before is valid for 24 hours more."""

    webhook_id: UUID
    secret: str = Field(description="Signs the messages. It is shown once.")


class WebhookPage(View):
    """Endpoints, newest first; pass `next` as `before` for the page after."""

    webhooks: list[WebhookOut]
    next: UUID | None


class DeliveryOut(View):
    """A message to an endpoint and what became of it."""

    delivery_id: UUID = Field(description="The header `webhook-id` of every attempt.")
    webhook_id: UUID
    job_id: UUID | None
    type: str
    status: DeliveryStatus
    attempts: int
    last_status: int | None = Field(description="The HTTP status of the last attempt's answer.")
    last_error: str | None
    next_at: datetime | None = Field(description="When it is tried next.")
    created_at: datetime
    delivered_at: datetime | None

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        """The view of a delivery."""
        return cls.model_validate(delivery)


class DeliveryPage(View):
    """Deliveries, newest first; pass `next` as `before` for the page after."""

    deliveries: list[DeliveryOut]
    next: UUID | None


class Telling:
    """Endpoints of the principal and their deliveries; those of others are `not_found`."""

    def __init__(self, services: Services, access: Access) -> None:
        self._services = services
        self._access = access

    def _for(self, principal: Principal) -> Webhooks:
        principal.require(Scope.JOBS)
        if self._services.webhooks is None:
            raise AppError(Code.NOT_FOUND, "This server has no webhooks.")
        return self._services.webhooks

    async def create(self, principal: Principal, given: WebhookIn) -> WebhookMade:
        """Add an endpoint."""
        webhooks = self._for(principal)
        async with self._access.write(principal) as uow:
            made, secret = await webhooks.create(uow, principal.owner, given.url, given.description)
        return WebhookMade(**WebhookOut.of(made).model_dump(), secret=secret)

    async def show(self, principal: Principal, webhook_id: UUID) -> WebhookOut:
        """One endpoint."""
        webhooks = self._for(principal)
        async with self._access.read(principal) as uow:
            return WebhookOut.of(await webhooks.get(uow, principal.owner, webhook_id))

    async def page(
        self, principal: Principal, limit: int = 50, before: UUID | None = None
    ) -> WebhookPage:
        """A page of endpoints; `limit` is below 200."""
        webhooks = self._for(principal)
        async with self._access.read(principal) as uow:
            found = await webhooks.list(uow, principal.owner, limit + 1, before)
        shown = [WebhookOut.of(one) for one in found[:limit]]
        is_more = len(found) > limit
        return WebhookPage(webhooks=shown, next=shown[-1].webhook_id if is_more else None)

    async def change(
        self, principal: Principal, webhook_id: UUID, given: WebhookChange
    ) -> WebhookOut:
        """Replace what an endpoint says."""
        webhooks = self._for(principal)
        async with self._access.write(principal) as uow:
            changed = await webhooks.change(
                uow,
                principal.owner,
                webhook_id,
                url=given.url,
                description=given.description,
                is_enabled=given.is_enabled,
            )
        return WebhookOut.of(changed)

    async def rotate(self, principal: Principal, webhook_id: UUID) -> SecretOut:
        """Make a new secret."""
        webhooks = self._for(principal)
        async with self._access.write(principal) as uow:
            secret = await webhooks.rotate(uow, principal.owner, webhook_id)
        return SecretOut(webhook_id=webhook_id, secret=secret)

    async def delete(self, principal: Principal, webhook_id: UUID) -> None:
        """Delete an endpoint."""
        webhooks = self._for(principal)
        async with self._access.write(principal) as uow:
            await webhooks.delete(uow, principal.owner, webhook_id)

    async def test(self, principal: Principal, webhook_id: UUID) -> DeliveryOut:
        """Send an event about nothing."""
        webhooks = self._for(principal)
        async with self._access.write(principal) as uow:
            return DeliveryOut.of(await webhooks.test(uow, principal.owner, webhook_id))

    async def deliveries(
        self,
        principal: Principal,
        webhook_id: UUID,
        limit: int = 50,
        before: UUID | None = None,
        status: DeliveryStatus | None = None,
    ) -> DeliveryPage:
        """A page of deliveries; `limit` is below 200."""
        webhooks = self._for(principal)
        async with self._access.read(principal) as uow:
            found = await webhooks.deliveries(
                uow, principal.owner, webhook_id, limit + 1, before, status=status
            )
        shown = [DeliveryOut.of(one) for one in found[:limit]]
        is_more = len(found) > limit
        return DeliveryPage(deliveries=shown, next=shown[-1].delivery_id if is_more else None)

    async def redeliver(
        self, principal: Principal, webhook_id: UUID, delivery_id: UUID
    ) -> DeliveryOut:
        """Send a delivery again."""
        webhooks = self._for(principal)
        async with self._access.write(principal) as uow:
            return DeliveryOut.of(
                await webhooks.redeliver(uow, principal.owner, webhook_id, delivery_id)
            )
