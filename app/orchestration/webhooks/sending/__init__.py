"""Sends messages to endpoints: claimed under a lease, sent outside any transaction, marked."""

from app.orchestration.webhooks.sending.deliverer import DELIVERIES_TOPIC, Deliverer
from app.orchestration.webhooks.sending.post import Sender

__all__ = ["DELIVERIES_TOPIC", "Deliverer", "Sender"]
