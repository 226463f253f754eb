"""What processes tell each other: over Redis, where there is one."""

from app.kernel.clock import SystemClock
from app.kernel.metrics import Metrics
from app.kernel.ratelimit import Limiter
from app.kernel.settings import Settings
from app.kernel.wakeups import Wakeups
from app.wiring.hub import HubAddress


def make_wakeups(settings: Settings, address: HubAddress, metrics: Metrics) -> Wakeups:
    """Wake-ups over PostgreSQL, or over Redis with PostgreSQL for when that is away."""
    if settings.redis_url is None:
        return Wakeups(address.app_dsn)
    from app.kernel.rediswakeups import RedisWakeups

    url = settings.redis_url.get_secret_value()
    return RedisWakeups(address.app_dsn, url, prefix=settings.redis_prefix, metrics=metrics)


def make_limiter(settings: Settings, clock: SystemClock, metrics: Metrics) -> Limiter:
    """Limits of this process, or over all that share a Redis."""
    if settings.redis_url is None:
        return Limiter(clock)
    # Only who uses Redis pays for the import of its client.
    from app.kernel.redisclient import RedisClient
    from app.kernel.sharedlimits import SharedLimiter

    redis = RedisClient(settings.redis_url.get_secret_value())
    prefix, replicas = settings.redis_prefix, settings.redis_replicas
    return SharedLimiter(redis, clock, metrics, prefix=prefix, replicas=replicas)
