"""Webhooks: users' endpoints are told the ends of jobs, signed and until they have heard it."""

from app.orchestration.webhooks.sending import Deliverer, Sender
from app.orchestration.webhooks.service import Webhooks
from app.orchestration.webhooks.types import Delivery, DeliveryStatus, Endpoint

__all__ = ["Deliverer", "Delivery", "DeliveryStatus", "Endpoint", "Sender", "Webhooks"]
