"""A job's account as its run sees it, and the ends of such jobs.

A job is in usage mode if its definition says `"billing": "usage"` and an account was opened with
it. Every other job passes through here without a statement.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal
from uuid import UUID

from app.billing import Account, Billing, Settlement, Usage, UsageQuote
from app.kernel.uow import UnitOfWork
from app.orchestration.types import End, JobRequest, JobView

MODE = "usage"


def is_usage(job: JobView) -> bool:
    """Whether the job asks for usage mode."""
    return job.definition.get("billing") == MODE


def usage_kind(tool: str) -> Literal["tool", "sandbox"]:
    """The kind of usage that a call of a tool is."""
    return "sandbox" if tool.startswith("sandbox.") else "tool"


async def open_accounts(
    billing: Billing, uow: UnitOfWork, rows: Iterable[tuple[UUID, JobRequest]]
) -> None:
    """Open the accounts of those jobs that were quoted in usage mode."""
    opened = {
        job_id: (request.user_id, request.price)
        for job_id, request in rows
        if isinstance(request.price, UsageQuote)
    }
    if opened:
        await billing.accounts.open(uow, opened)


async def closings(
    billing: Billing, uow: UnitOfWork, ends: Sequence[End]
) -> dict[UUID, list[Settlement]]:
    """How to settle the holds of those ended jobs that have an account.

    A run is charged what it used however it ended, but for one that the platform gave up (Dead):
    that costs nothing.
    """
    ended = {end.lease.job_id: end.status != "Dead" for end in ends if is_usage(end.lease.job)}
    return await billing.accounts.close(uow, ended) if ended else {}


class UsageAccount:
    """What one run may still start. Does nothing for a job of another mode.

    A job has one run at a time, so the prices of steps under way are kept here, in memory.
    """

    def __init__(self, billing: Billing, job: JobView) -> None:
        self._billing = billing
        self._job = job
        self._is_on = is_usage(job)
        self._flying: dict[str, int] = {}
        self._seen: Account | None = None

    async def admit(self, uow: UnitOfWork, subject: str, key: str, kind: str = "") -> None:
        """Let a step start, or raise `credits_exhausted`; the job's lease is held by `uow`.

        `key` names the step's usage. Its price is set aside until `record` or `dismiss`.
        """
        if not self._is_on:
            return
        account = await self._billing.accounts.locked(uow, self._job.job_id)
        if account is None:
            self._is_on = False
            return
        kind = kind or usage_kind(subject)
        self._seen = await self._billing.accounts.require(
            uow, account, (kind, subject, key), sum(self._flying.values())
        )
        self._flying[key] = account.tariff.fixed_parts(kind, subject)

    async def record(self, uow: UnitOfWork, usage: Usage) -> None:
        """Meter a step's usage; one that nears what the job holds makes it hold more."""
        if not self._is_on:
            await self._billing.meter(uow, [usage])
            return
        after = await self._billing.accounts.meter(uow, [usage])
        self._seen = after.get(self._job.job_id)
        self.dismiss(usage.key)

    def dismiss(self, key: str) -> None:
        """The step has ended; what was set aside for it is free."""
        self._flying.pop(key, None)

    def told(self) -> dict[str, Any]:
        """The running sum, for the trace; nothing for a job of another mode."""
        if self._seen is None:
            return {}
        return {"used_micro": self._seen.used_micro, "held_micro": self._seen.held_micro}
