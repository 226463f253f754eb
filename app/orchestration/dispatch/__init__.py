"""Dispatch: who tells a worker which jobs to claim."""

from app.kernel.ids import new_id
from app.kernel.metrics import Metrics
from app.kernel.settings import Settings
from app.kernel.uow import Transactions
from app.kernel.wakeups import Wakeups
from app.orchestration.dispatch.port import Dispatcher, DispatchState
from app.orchestration.dispatch.postgres import PostgresDispatcher

__all__ = ["DispatchState", "Dispatcher", "PostgresDispatcher", "make_dispatcher"]


def make_dispatcher(
    settings: Settings, transactions: Transactions, wakeups: Wakeups, metrics: Metrics
) -> Dispatcher:
    """The member that the settings choose, for one worker.

    Raises `invalid_input` for addresses that are none; a broker that is away is no error.
    """
    if settings.redis_url is None:
        return PostgresDispatcher()
    # Only who uses the broker pays for the import of its client.
    from app.orchestration.dispatch.broker import Broker
    from app.orchestration.dispatch.streams import RedisDispatcher

    broker = Broker(settings.redis_url.get_secret_value(), settings.redis_prefix)
    return RedisDispatcher(
        # Host and process id are not enough: two containers may share both.
        broker,
        transactions,
        wakeups,
        metrics,
        name=str(new_id()),
        poll_s=settings.poll_seconds,
    )
