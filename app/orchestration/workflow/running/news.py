"""Looks for answers to questions of runs that are in memory; parked ones are woken instead."""

import logging
from collections.abc import Callable, Mapping
from uuid import UUID

from app.kernel.errors import AppError
from app.kernel.principal import SERVICE
from app.kernel.uow import Transactions
from app.kernel.wakeups import Wakeups
from app.orchestration.workflow.running import store
from app.orchestration.workflow.running.records import OpenWait
from app.orchestration.workflow.running.run import Run

ANSWERS_TOPIC = "answers"
_log = logging.getLogger(__name__)


class News:
    """Hands answers, and questions that have expired, to their runs."""

    def __init__(
        self,
        transactions: Transactions,
        wakeups: Wakeups,
        runs: Mapping[UUID, Run],
        told: Callable[[Run, OpenWait], None],
        poll_s: float,
    ) -> None:
        self._transactions = transactions
        self._wakeups = wakeups
        self._runs = runs
        self._told = told
        self._poll_s = poll_s

    async def run(self) -> None:
        """Look whenever somebody has answered, and from time to time, until cancelled."""
        while True:
            ticket = self._wakeups.ticket(ANSWERS_TOPIC)
            try:
                await self._look()
            except AppError as error:
                _log.warning("cannot look for answers", extra={"reason": error.message})
            except Exception:  # noqa: BLE001 - nobody watches this task, it must not end
                _log.exception("cannot look for answers")
            await self._wakeups.wait(ticket, self._poll_s)

    async def _look(self) -> None:
        asked = [job_id for job_id, run in self._runs.items() if run.questions]
        if not asked:
            return
        async with self._transactions.begin(SERVICE) as uow:
            found = await store.news(uow, asked)
        for job_id, wait in found:
            run = self._runs.get(job_id)
            if run is not None and wait.path in run.questions:
                self._told(run, wait)
