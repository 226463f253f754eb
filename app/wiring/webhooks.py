"""Both ends of webhooks, who announces and who delivers, over one key."""

from app.kernel.clock import SystemClock
from app.kernel.crypto import key_id, load_or_create_key
from app.kernel.egress import GuardedTransport
from app.kernel.settings import Settings
from app.kernel.wakeups import Wakeups
from app.orchestration import Deliverer, Sender, Webhooks
from app.surfaces.services import Services


def _webhook_key(settings: Settings) -> bytes:
    return load_or_create_key(settings.home.expanduser().resolve() / "secrets" / "webhook.key")


def make_webhooks(settings: Settings, wakeups: Wakeups) -> Webhooks:
    """Users' webhooks, and the messages that ends of jobs write."""
    return Webhooks(
        wakeups,
        _webhook_key(settings),
        base_url=settings.public_url or "",
        allow_private=settings.webhook_allow_private,
    )


def make_deliverer(services: Services, transport: GuardedTransport) -> Deliverer:
    """Who sends those messages."""
    key = _webhook_key(services.settings)
    sender = Sender(transport, key, SystemClock())
    database, wakeups = services.database, services.wakeups
    return Deliverer(database, wakeups, sender, services.metrics, key_id(key))
