"""Gives jobs whose time has come their place in the queue: later, backing off, resumed.

They have none before, so that no claim ever passes over a million of them.
"""

import logging

from app.kernel.errors import AppError
from app.kernel.principal import SERVICE
from app.kernel.uow import Transactions
from app.kernel.wakeups import Wakeups
from app.orchestration import store
from app.orchestration.lifecycle import DUE_TOPIC, JOBS_TOPIC

_BATCH = 500
_log = logging.getLogger(__name__)


class Stager:
    """Part of every worker; any number may share a database."""

    def __init__(self, transactions: Transactions, wakeups: Wakeups, poll_s: float) -> None:
        self._transactions = transactions
        self._wakeups = wakeups
        self._poll_s = poll_s

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            ticket = self._wakeups.ticket(DUE_TOPIC)
            staged, next_s = await self._stage()
            if staged:
                self._wakeups.wake(JOBS_TOPIC)
            if staged < _BATCH:
                wait_s = self._poll_s if next_s is None else min(max(next_s, 0.0), self._poll_s)
                await self._wakeups.wait(ticket, wait_s)

    async def _stage(self) -> tuple[int, float | None]:
        try:
            async with self._transactions.begin(SERVICE) as uow:
                return await store.stage(uow, _BATCH)
        except AppError as error:
            _log.warning("cannot stage jobs", extra={"reason": error.message})
        except Exception:  # noqa: BLE001 - nobody watches this task, it must not end
            _log.exception("cannot stage jobs")
        return 0, None
