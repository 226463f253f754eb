"""Delivers what is due. Any number of deliverers may share a database.

Endpoints that fail have a share of the connections of their own and one at a time each, so that
however many of them hang, those that answer do not wait.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter
from uuid import UUID

from app.kernel.errors import AppError
from app.kernel.metrics import Metrics
from app.kernel.principal import SERVICE
from app.kernel.uow import Transactions
from app.kernel.wakeups import Wakeups
from app.orchestration.webhooks.sending import store
from app.orchestration.webhooks.sending.post import Sender
from app.orchestration.webhooks.store import forget
from app.orchestration.webhooks.types import Attempt, Result

DELIVERIES_TOPIC = "deliveries"
DISABLE_AFTER_DAYS = 5
KEEP_DAYS = 30
_GATHER_S = 0.005
_FORGET_EVERY_S = 60.0
_FORGOTTEN_AT_ONCE = 1000
_OUTCOMES = {"delivered": "delivered", "pending": "retried", "failed": "failed"}
_log = logging.getLogger(__name__)


class _Pool:
    """The attempts under way to one sort of endpoint."""

    def __init__(self, *, is_failing: bool, size: int, each: int) -> None:
        self.is_failing = is_failing
        self.size = size
        self.each = each
        self.after = store.FIRST
        self.tasks: dict[asyncio.Task[Result], Attempt] = {}

    @property
    def room(self) -> int:
        """How many more attempts may be under way."""
        return self.size - len(self.tasks)

    def full(self) -> list[UUID]:
        """The endpoints that take no more attempts now."""
        under_way = Counter(attempt.webhook_id for attempt in self.tasks.values())
        return [webhook_id for webhook_id, count in under_way.items() if count >= self.each]


class Deliverer:
    """One in each process. `key_id` names the key its sender opens secrets with."""

    def __init__(
        self,
        transactions: Transactions,
        wakeups: Wakeups,
        sender: Sender,
        metrics: Metrics,
        key_id: str,
        *,
        lease_s: float = 30.0,
        poll_s: float = 1.0,
        grace_s: float = 2.0,
    ) -> None:
        self._transactions = transactions
        self._wakeups = wakeups
        self._sender = sender
        self._metrics = metrics
        self._key_id = key_id
        self._lease_s = lease_s
        self._poll_s = poll_s
        self._grace_s = grace_s
        self._pools = (
            _Pool(is_failing=False, size=64, each=8),
            _Pool(is_failing=True, size=16, each=1),
        )
        self._results: list[Result] = []
        self._forget_at = 0.0

    async def run(self) -> None:
        """Deliver until cancelled; a database that is away is waited for."""
        try:
            while True:
                ticket = self._wakeups.ticket(DELIVERIES_TOPIC)
                is_more = await self._guarded()
                # Answers that come together are noted together, in one transaction.
                await asyncio.sleep(_GATHER_S)
                if not is_more:
                    await self._wakeups.wait(ticket, self._poll_s)
        finally:
            await self._stop()

    async def run_once(self) -> int:
        """Make every attempt that is due now; returns how many there were."""
        made = 0
        while started := await self._turn():
            made += started
            await asyncio.gather(*self._tasks())
            await asyncio.sleep(0)
        return made

    async def _guarded(self) -> bool:
        """One turn; whether there may be more to do at once."""
        try:
            started = await self._turn()
        except AppError as error:
            _log.warning("nothing delivered", extra={"reason": error.message})
            return False
        except Exception:  # noqa: BLE001 - nobody watches this task, it must not end
            _log.exception("nothing delivered")
            return False
        return started > 0 or any(pool.after != store.FIRST and pool.room for pool in self._pools)

    async def _turn(self) -> int:
        """Mark what has ended and claim what is due, in one transaction; then start that."""
        results = list(self._results)
        claimed: list[tuple[_Pool, list[Attempt]]] = []
        async with self._transactions.begin(SERVICE) as uow:
            disabled = await store.mark(uow, results, DISABLE_AFTER_DAYS) if results else []
            for pool in self._pools:
                if pool.room > 0:
                    attempts, pool.after = await store.claim(uow, self._asked(pool))
                    claimed.append((pool, attempts))
            if time.monotonic() >= self._forget_at:
                count = await forget(uow, KEEP_DAYS, _FORGOTTEN_AT_ONCE)
                is_more = count == _FORGOTTEN_AT_ONCE
                self._forget_at = time.monotonic() + (0 if is_more else _FORGET_EVERY_S)
        del self._results[: len(results)]
        self._count(results, len(disabled))
        for pool, attempts in claimed:
            for attempt in attempts:
                self._start(pool, attempt)
        return sum(len(attempts) for _, attempts in claimed)

    def _asked(self, pool: _Pool) -> store.Claim:
        return store.Claim(
            is_failing=pool.is_failing,
            each=pool.each,
            room=pool.room,
            lease_s=self._lease_s,
            key=self._key_id,
            after=pool.after,
            busy=pool.full(),
        )

    def _start(self, pool: _Pool, attempt: Attempt) -> None:
        task = asyncio.create_task(self._sender.send(attempt), name="webhook")
        pool.tasks[task] = attempt

        def ended(_: asyncio.Task[Result]) -> None:
            del pool.tasks[task]
            if not task.cancelled():
                self._results.append(task.result())
                self._wakeups.wake(DELIVERIES_TOPIC, is_local=True)

        task.add_done_callback(ended)

    def _count(self, results: list[Result], disabled: int) -> None:
        for result in results:
            self._metrics.observe_delivery(_OUTCOMES[result.status])
        for _ in range(disabled):
            self._metrics.observe_delivery("disabled")

    def _tasks(self) -> list[asyncio.Task[Result]]:
        return [task for pool in self._pools for task in pool.tasks]

    async def _stop(self) -> None:
        """Wait a moment for what is under way, then let its lease run out; note what has ended."""
        if tasks := self._tasks():
            await asyncio.wait(tasks, timeout=self._grace_s)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._results:
            with contextlib.suppress(AppError):
                async with self._transactions.begin(SERVICE) as uow:
                    await store.mark(uow, self._results, DISABLE_AFTER_DAYS)
