"""Follows the registry: new tools and servers become callable here, others stop."""

import asyncio
import logging

from app.kernel.errors import AppError
from app.kernel.principal import SERVICE
from app.kernel.uow import Transactions
from app.kernel.wakeups import Wakeups
from app.proxy.service import ToolProxy
from app.registry import TOPIC, Registry, Snapshot

_log = logging.getLogger(__name__)


class Follower:
    """Reads the registry whenever it is woken, and every `poll_s` in case a wake-up was lost."""

    def __init__(
        self,
        transactions: Transactions,
        wakeups: Wakeups,
        registry: Registry,
        proxy: ToolProxy,
        *,
        poll_s: float = 2.0,
        check_s: float = 60.0,
    ) -> None:
        self._transactions = transactions
        self._wakeups = wakeups
        self._registry = registry
        self._proxy = proxy
        self._poll_s, self._check_s = poll_s, check_s
        self._seen: Snapshot | None = None

    async def run(self) -> None:
        """Follow until cancelled; registered servers are listed again every `check_s`."""
        loop = asyncio.get_running_loop()
        check_at = loop.time() + self._check_s
        while True:
            ticket = self._wakeups.ticket(TOPIC)
            try:
                await self.run_once()
            except AppError as error:
                _log.warning("the registry was not read", extra={"reason": error.message})
            if loop.time() >= check_at:
                check_at = loop.time() + self._check_s
                self._proxy.recheck()
            await self._wakeups.wait(ticket, self._poll_s)

    async def run_once(self) -> None:
        """Read what has changed, and start and stop backends accordingly."""
        async with self._transactions.begin(SERVICE) as uow:
            await self._registry.follow(uow)
        snapshot = self._registry.snapshot()
        if snapshot is not self._seen:
            self._proxy.sync([server.config() for server in snapshot.servers()])
            self._seen = snapshot
