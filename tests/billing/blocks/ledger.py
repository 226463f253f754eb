"""A user with credits, and what the database says about them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

from app.billing import Billing, Blocks, Promise, Terms, Usage, Wallet
from app.kernel.clock import SystemClock
from app.kernel.principal import SERVICE
from app.kernel.uow import Transactions

PRICE = 10
# Nothing is written or given back by itself: the test says when.
STILL = Terms(flush_s=3600.0)


async def user_with(transactions: Transactions, credits_micro: int) -> UUID:
    billing, user_id = Billing(), uuid4()
    async with transactions.begin(SERVICE) as uow:
        await billing.open_wallet(uow, user_id)
        if credits_micro:
            await billing.grant(uow, user_id, credits_micro, cause=f"test:{user_id}")
    return user_id


def usage(promise: Promise) -> Usage:
    return Usage(promise.call_id, promise.user_id, None, str(promise.call_id), "tool", "far.echo")


def answered(blocks: Blocks, promise: Promise) -> int:
    """The call was answered: charged and metered."""
    return blocks.settle(promise, usage(promise), is_charged=True)


def failed(blocks: Blocks, promise: Promise) -> int:
    """The call never got an answer."""
    return blocks.settle(promise, None, is_charged=False)


@asynccontextmanager
async def leasing(transactions: Transactions, terms: Terms = STILL) -> AsyncIterator[Blocks]:
    blocks = Blocks(transactions, SystemClock(), terms)
    yield blocks
    await blocks.close()


async def wallet(transactions: Transactions, user_id: UUID) -> Wallet:
    async with transactions.begin(SERVICE) as uow:
        return await Billing().wallet(uow, user_id)


@dataclass(frozen=True)
class Written:
    charged: dict[UUID, int]
    metered: set[str]


async def written(transactions: Transactions) -> Written:
    async with transactions.begin(SERVICE) as uow:
        charges = await uow.execute("select call_id, amount_micro from app.call_charge")
        rows: list[Any] = list(charges)
        usages = await uow.execute("select key from app.usage_event")
        return Written({row.call_id: row.amount_micro for row in rows}, {row.key for row in usages})


async def expire(transactions: Transactions, seconds: float = 3600.0) -> int:
    """Time passes for the database: leases run out, and upkeep gives them back."""
    async with transactions.begin(SERVICE) as uow:
        open_holds = await uow.execute(
            "select h.hold_id from app.hold h where expires_at < now() + make_interval(secs => :s)"
            " and not exists (select from app.settlement s where s.hold_id = h.hold_id)",
            {"s": seconds},
        )
        ids = [row.hold_id for row in open_holds]
        return sum([await Billing().release(uow, hold_id) for hold_id in ids])
