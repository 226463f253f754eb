"""Makes a process's registry from its settings."""

from urllib.parse import urlsplit

from app.kernel.metrics import Metrics
from app.kernel.settings import Settings
from app.kernel.wakeups import Wakeups
from app.registry.config import RESERVED
from app.registry.scanner import Scanner
from app.registry.servers import Reader
from app.registry.servers.service import OWN_NAMES
from app.registry.service import TOPIC, Registry


def make_registry(settings: Settings, wakeups: Wakeups, metrics: Metrics) -> Registry:
    """A registry that wakes all processes, shows its look-ups, and takes no server for itself."""
    own = {f"{settings.host}:{settings.port}", *settings.allowed_hosts}
    if settings.public_url is not None:
        own.add(urlsplit(settings.public_url).netloc)
    registry = Registry(
        default_timeout_s=settings.tool_timeout,
        reader=Reader(allow_private=settings.servers_allow_private, own=frozenset(own)),
        scan=Scanner(
            servers=lambda: RESERVED | OWN_NAMES | registry.snapshot().server_names(),
            tools=lambda: registry.snapshot().names(),
        ),
        wake=lambda: wakeups.wake(TOPIC),
    )
    metrics.watch_cache("registry", lambda: registry.lookups.ratio)
    return registry
