"""Looks after limits between jobs: rates, due jobs, changed numbers, and whatever a fault left."""

import logging
import time

from app.kernel.errors import AppError
from app.kernel.principal import SERVICE
from app.kernel.uow import Transactions, UnitOfWork
from app.kernel.wakeups import Wakeups
from app.orchestration.limits import store
from app.orchestration.limits.admission import LIMITS_TOPIC, Admission
from app.orchestration.limits.service import NAMES_TOPIC, JobLimits

_EVERY_S = 1.0
_NAMES_S = 2.0
_SWEEP_EVERY = 10
"""Rounds between two pages of the sweep."""
_log = logging.getLogger(__name__)


class LimitKeeper:
    """One in each process; a lock in the database lets one of them work at a time."""

    def __init__(
        self,
        transactions: Transactions,
        wakeups: Wakeups,
        admission: Admission,
        limits: JobLimits,
        *,
        every_s: float = _EVERY_S,
    ) -> None:
        self._transactions = transactions
        self._wakeups = wakeups
        self._admission = admission
        self._limits = limits
        self._every_s = every_s
        self._after = ""
        self._round = 0
        self._names = wakeups.ticket(NAMES_TOPIC)
        self._named_at = 0.0

    async def run(self) -> None:
        """Work until cancelled; a database that is away is waited for."""
        while True:
            ticket = self._wakeups.ticket(LIMITS_TOPIC)
            try:
                await self.run_once()
            except AppError as error:
                _log.warning("limits not looked after", extra={"reason": error.message})
            except Exception:  # noqa: BLE001 - nobody watches this task, it must not end
                _log.exception("limits not looked after")
            await self._wakeups.wait(ticket, self._every_s)

    async def run_once(self) -> None:
        """Learn which limits there are, then look at all lines that are due."""
        await self._learn()
        while await self._look():
            pass
        self._round += 1
        if self._round % _SWEEP_EVERY == 0:
            async with self._transactions.begin(SERVICE) as uow:
                if await store.try_alone(uow):
                    self._after = await self._admission.heal(uow, self._after)

    async def _learn(self) -> None:
        """Know the names anew if they have changed, or after a while, as a wake-up may be lost."""
        if not self._names.event.is_set() and time.monotonic() < self._named_at + _NAMES_S:
            return
        self._names = self._wakeups.ticket(NAMES_TOPIC)
        async with self._transactions.begin(SERVICE) as uow:
            await self._limits.refresh(uow)
        self._named_at = time.monotonic()

    async def _look(self) -> bool:
        """One transaction of upkeep; whether there may be more to do at once."""
        async with self._transactions.begin(SERVICE) as uow:
            return await store.try_alone(uow) and await self._due(uow)

    async def _due(self, uow: UnitOfWork) -> bool:
        # Both lock limits, and only one order of locks is safe: one of them a transaction.
        return bool(await self._admission.ripen(uow) or await self._admission.readmit(uow))
