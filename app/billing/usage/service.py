"""Accounts of jobs in usage mode: opened with the job, added to as it runs, closed with it.

Whoever calls holds the job's queue row locked, so that a job has one writer at a time. Locks are
taken in one order: queue rows, accounts by job id, wallets by user id, ledger rows.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from app.billing.types import Hold, PriceKind, Settlement, Usage, credits_text
from app.billing.usage import store
from app.billing.usage.rates import Tariff, UsageRate, check_rates
from app.billing.usage.store import TopUp
from app.billing.usage.types import Account, UsageQuote
from app.kernel.errors import AppError, Code
from app.kernel.ids import new_id
from app.kernel.uow import UnitOfWork

Place = Callable[[UnitOfWork, Sequence[Hold]], Awaitable[dict[UUID, AppError]]]
_CAP_FACTOR = 2


def usage_quote(
    kind: PriceKind,
    name: str,
    version: int,
    rates: Sequence[UsageRate],
    max_micro: int | None = None,
) -> UsageQuote:
    """A quote from rates; without `max_micro` it caps at twice the high estimate.

    Raises `invalid_input` if `max_micro` is below the low estimate.
    """
    low, high = Tariff(rates).estimate()
    if max_micro is not None and max_micro < low:
        raise AppError(
            Code.INVALID_INPUT,
            f"At most {credits_text(max_micro)} credits is too little: this costs"
            f" {credits_text(low)} to {credits_text(high)}.",
            hint=f"Give `max_credits` of {credits_text(low)} or more.",
            details={"pointer": "/max_credits", "low_micro": low, "high_micro": high},
        )
    cap = high * _CAP_FACTOR if max_micro is None else max_micro
    return UsageQuote(kind, name, "usage", min(high, cap), version, low, high, cap, tuple(rates))


class Accounts:
    """The accounts of jobs in usage mode. `place` sets credits aside, as `Billing.place` does."""

    def __init__(self, place: Place) -> None:
        self._place = place

    async def publish(
        self, uow: UnitOfWork, kind: PriceKind, name: str, rates: Sequence[UsageRate]
    ) -> None:
        """Make these the rates from now on; jobs quoted before keep theirs."""
        check_rates(rates)
        rates = sorted(rates, key=lambda rate: (rate.kind, rate.subject, rate.unit))
        current = await store.latest(uow, kind, name)
        if current is None or list(current[1]) != rates:
            await store.publish(uow, kind, name, 1 if current is None else current[0] + 1, rates)

    async def open(self, uow: UnitOfWork, opened: Mapping[UUID, tuple[UUID, UsageQuote]]) -> None:
        """Open the accounts of new jobs (job to user and quote), whose holds are placed."""
        if opened:
            await store.open_accounts(uow, opened)

    async def of(self, uow: UnitOfWork, job_id: UUID) -> Account | None:
        """A job's account as it stands; None for a job of another mode."""
        return await store.account(uow, job_id)

    async def locked(self, uow: UnitOfWork, job_id: UUID) -> Account | None:
        """A job's account, locked until the transaction ends."""
        return (await store.accounts(uow, [job_id])).get(job_id)

    async def meter(self, uow: UnitOfWork, usages: Sequence[Usage]) -> dict[UUID, Account]:
        """Record usage of running jobs; a key recorded before adds nothing.

        Returns the accounts after it. One that nears what it holds is topped up; if its cap or
        its wallet refuses that, nothing is raised here: the next step is refused.
        """
        jobs = {usage.job_id for usage in usages if usage.job_id is not None}
        known = await store.accounts(uow, jobs)
        new = await store.meter(uow, usages)
        parts: Counter[UUID] = Counter()
        for usage in usages:
            if (usage.job_id, usage.key) in new and usage.job_id in known:
                # One key twice in a batch is recorded, and counted, once.
                new.discard((usage.job_id, usage.key))
                parts[usage.job_id] += known[usage.job_id].tariff.parts(usage)
        if added := {job: more for job, more in parts.items() if more}:
            await store.add(uow, added)
        after = {
            job: replace(one, used_parts=one.used_parts + parts[job]) for job, one in known.items()
        }
        near = {one: one.used_parts for job, one in after.items() if job in added and one.is_near}
        return after | await self._top_up(uow, near)

    async def top_up(self, uow: UnitOfWork, account: Account, parts: int) -> Account:
        """Hold more for a usage of `parts`, as far as cap and wallet allow."""
        more = await self._top_up(uow, {account: parts}, takes_rest=True)
        return more.get(account.job_id, account)

    async def _top_up(
        self, uow: UnitOfWork, wanted: Mapping[Account, int], *, takes_rest: bool = False
    ) -> dict[UUID, Account]:
        asked = [
            TopUp(new_id(), account, step)
            for account, parts in wanted.items()
            if (step := account.step_micro(parts)) > 0
        ]
        if not asked:
            return {}
        refused = await self._place(uow, [_hold(one) for one in asked])
        placed = [one for one in asked if one.hold_id not in refused]
        for one in asked if takes_rest else ():
            if one.hold_id in refused:
                placed += await self._rest(uow, one, refused[one.hold_id])
        if placed:
            await store.link(uow, placed)
        return {
            one.account.job_id: replace(
                one.account, held_micro=one.account.held_micro + one.amount_micro
            )
            for one in placed
        }

    async def _rest(self, uow: UnitOfWork, asked: TopUp, why: AppError) -> list[TopUp]:
        """What is left in a wallet that does not cover a whole step."""
        left = int(why.details.get("available_micro", 0))
        if not 0 < left < asked.amount_micro:
            return []
        smaller = TopUp(new_id(), asked.account, left)
        return [] if await self._place(uow, [_hold(smaller)]) else [smaller]

    async def require(
        self, uow: UnitOfWork, account: Account, usage: tuple[str, str, str], flying: int = 0
    ) -> Account:
        """Let a step start, holding more if need be, or raise `credits_exhausted`.

        `usage` is the step's kind, subject and key; `flying` are parts of steps under way. A step
        that was metered before starts again freely.
        """
        kind, subject, key = usage
        fixed = account.tariff.fixed_parts(kind, subject)
        is_open = account.tariff.is_open(kind, subject)
        before = account.used_parts + flying
        if account.admits(before, fixed, is_open=is_open):
            return account
        more = await self.top_up(uow, account, before + fixed)
        if more.admits(before, fixed, is_open=is_open):
            return more
        if await store.is_metered(uow, account.job_id, key):
            return more
        raise exhausted(more, subject)

    async def close(
        self, uow: UnitOfWork, charged: Mapping[UUID, bool]
    ) -> dict[UUID, list[Settlement]]:
        """How to settle the holds of ended jobs in usage mode, each with whether it is charged.

        The charge goes over a job's holds in the order they were placed.
        """
        known = await store.accounts(uow, charged)
        holds = await store.holds(uow, known)
        return {
            job: store.split(one.charge_micro if charged[job] else 0, holds.get(job, []))
            for job, one in known.items()
        }


def _hold(topup: TopUp) -> Hold:
    return Hold(topup.hold_id, topup.account.user_id, topup.amount_micro)


def exhausted(account: Account, subject: str) -> AppError:
    """The error of a step that neither the cap nor the wallet lets start."""
    is_capped = account.held_micro >= account.cap_micro
    return AppError(
        Code.CREDITS_EXHAUSTED,
        f"The run has used {credits_text(account.used_micro)} of the"
        f" {credits_text(account.held_micro)} credits it holds; '{subject}' was not started.",
        hint="Run it again with a larger `max_credits`."
        if is_capped
        else "Top up the wallet and run it again.",
        details={
            "used_micro": account.used_micro,
            "held_micro": account.held_micro,
            "cap_micro": account.cap_micro,
        },
    )
