"""What each process does about the queue every few seconds: schedules, and the queue's metrics."""

from app.kernel.metrics import Metrics
from app.kernel.principal import SERVICE
from app.kernel.uow import Transactions
from app.orchestration.operations.queues import Queues, show
from app.orchestration.operations.scheduler import Scheduler

_LOOK_EVERY = 5
_AT_ONCE = 100


class Watch:
    """Fires due schedules at each round, and looks at the queue at every fifth."""

    def __init__(self, transactions: Transactions, scheduler: Scheduler, metrics: Metrics) -> None:
        self._transactions = transactions
        self._scheduler = scheduler
        self._metrics = metrics
        self._round = 0

    async def run_once(self) -> None:
        """One round."""
        while await self._scheduler.run_once(_AT_ONCE) == _AT_ONCE:
            pass
        if self._round % _LOOK_EVERY == 0:
            async with self._transactions.begin(SERVICE) as uow:
                show(await Queues(_nobody).state(uow), self._metrics)
        self._round += 1


def _nobody() -> None:
    """Looking wakes nobody."""
