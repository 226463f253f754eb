"""A run in usage mode: every call is let in before it starts and metered when it is answered."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.billing import Billing, Usage
from app.kernel.errors import AppError, Code
from app.kernel.principal import Principal
from app.kernel.uow import Transactions, UnitOfWork
from app.orchestration.types import Lease
from app.orchestration.usage import UsageAccount
from app.orchestration.workflow.running import store


class RunAccount:
    """The account of one run, each call of it in fenced transactions of its own."""

    def __init__(
        self, transactions: Transactions, billing: Billing, lease: Lease, principal: Principal
    ) -> None:
        self._transactions = transactions
        self._lease = lease
        self._principal = principal
        self._account = UsageAccount(billing, lease.job)

    async def admit(self, name: str, key: str) -> None:
        """Let a tool be called, or raise `credits_exhausted`."""
        async with fenced(self._transactions, self._lease, self._principal) as uow:
            await self._account.admit(uow, name, key)

    async def record(self, usage: Usage) -> None:
        """Meter an answered call."""
        async with fenced(self._transactions, self._lease, self._principal) as uow:
            await self._account.record(uow, usage)

    def dismiss(self, key: str) -> None:
        """The call is over."""
        self._account.dismiss(key)


@asynccontextmanager
async def fenced(
    transactions: Transactions, lease: Lease, principal: Principal
) -> AsyncIterator[UnitOfWork]:
    """A transaction that nobody else can claim the job beside; `lease_lost` if somebody has."""
    async with transactions.begin(principal.elevated()) as uow:
        if not await store.hold(uow, lease.job_id, lease.attempt):
            raise lost(lease)
        yield uow


def lost(lease: Lease) -> AppError:
    """The error of a run that another worker has taken over."""
    return AppError(Code.LEASE_LOST, f"Attempt {lease.attempt} no longer holds job {lease.job_id}.")
