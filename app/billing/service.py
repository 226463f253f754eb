"""Prices, holds and the wallet. Nothing here commits; the caller's unit of work does."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from uuid import UUID

from app.billing import books, store
from app.billing.books import Discrepancy
from app.billing.types import (
    Hold,
    Price,
    PriceKind,
    Quote,
    Settlement,
    SettlementKind,
    Usage,
    Wallet,
    credits_text,
)
from app.billing.usage import Accounts, UsageQuote, UsageRate, usage_quote
from app.billing.usage import store as usage_store
from app.kernel.errors import AppError, Code
from app.kernel.uow import UnitOfWork

Living = Callable[[UnitOfWork, set[UUID]], Awaitable[set[UUID]]]


def _is_repeat(hold: Hold, earlier: Hold | None) -> bool:
    return earlier is not None and (earlier.user_id, earlier.amount_micro) == (
        hold.user_id,
        hold.amount_micro,
    )


def fit(
    holds: Sequence[Hold], available: Mapping[UUID, int]
) -> tuple[list[Hold], dict[UUID, AppError]]:
    """The holds that fit into the wallets one after the other, and why the others do not."""
    free, fitting, refused = dict(available), [], {}
    for hold in holds:
        left = free.get(hold.user_id, 0)
        if hold.amount_micro <= left:
            free[hold.user_id] = left - hold.amount_micro
            fitting.append(hold)
        else:
            refused[hold.hold_id] = insufficient(hold.amount_micro, left)
    return fitting, refused


def insufficient(needed_micro: int, available_micro: int) -> AppError:
    """The error of a wallet that does not cover a price."""
    return AppError(
        Code.INSUFFICIENT_CREDITS,
        f"This costs {credits_text(needed_micro)} credits and the wallet has"
        f" {credits_text(available_micro)} free.",
        hint="Top up the wallet, or wait for running jobs to release theirs.",
        details={"needed_micro": needed_micro, "available_micro": available_micro},
    )


class Billing:
    """The ledger of credits.

    A run holds its quote before it starts and settles exactly once: captured on success,
    released otherwise. Ids of holds are the runs' ids, so repeating a call changes nothing.
    A run in usage mode has an account besides (`accounts`) and is charged what it used.
    """

    def __init__(self) -> None:
        self.accounts = Accounts(self.place)

    async def publish_price(
        self, uow: UnitOfWork, kind: PriceKind, name: str, amount_micro: int
    ) -> None:
        """Make `amount_micro` the price from now on; quotes given before keep theirs."""
        current = await store.latest_price(uow, kind, name)
        if current is None or current.amount_micro != amount_micro:
            version = 1 if current is None else current.version + 1
            await store.insert_price(uow, Price(kind, name, amount_micro, version))

    async def quote(self, uow: UnitOfWork, kind: PriceKind, name: str) -> Quote:
        """The price of one success of a template or one answered call of a tool.

        Raises `price_unknown` where none is published.
        """
        price = await store.latest_price(uow, kind, name)
        if price is None:
            raise AppError(
                Code.PRICE_UNKNOWN,
                f"No price is published for the {kind} '{name}'.",
                hint="List templates or tools to see what can be run.",
            )
        return Quote(kind, name, "outcome", price.amount_micro, price.version)

    async def publish_usage(
        self, uow: UnitOfWork, kind: PriceKind, name: str, rates: Sequence[UsageRate]
    ) -> None:
        """Make these the rates of usage mode from now on; running jobs keep theirs."""
        await self.accounts.publish(uow, kind, name, rates)

    async def quote_usage(
        self, uow: UnitOfWork, kind: PriceKind, name: str, *, max_micro: int | None = None
    ) -> UsageQuote:
        """The estimate of a run in usage mode; it will cost no more than `max_micro`.

        Raises `price_unknown` where usage mode is not offered, `invalid_input` if `max_micro` is
        below the low estimate.
        """
        plan = await usage_store.latest(uow, kind, name)
        if plan is None:
            raise AppError(
                Code.PRICE_UNKNOWN,
                f"The {kind} '{name}' is not offered in usage mode.",
                hint="Leave `billing` out: it is charged by outcome.",
            )
        return usage_quote(kind, name, *plan, max_micro)

    async def open_wallet(self, uow: UnitOfWork, user_id: UUID) -> None:
        """Give a user an empty wallet; repeating it changes nothing."""
        await store.open_wallet(uow, user_id)

    async def wallet(self, uow: UnitOfWork, user_id: UUID) -> Wallet:
        """The user's wallet; empty if there is none yet."""
        return await store.wallet(uow, user_id) or Wallet(user_id, 0, 0, 0, 0)

    async def grant(self, uow: UnitOfWork, user_id: UUID, amount_micro: int, *, cause: str) -> bool:
        """Add credits once per `cause`; return whether they were added now."""
        if amount_micro <= 0:
            raise AppError(Code.INVALID_INPUT, "A grant must be more than nothing.")
        await store.open_wallet(uow, user_id)
        return await store.grant(uow, user_id, amount_micro, "grant", cause)

    async def hold(self, uow: UnitOfWork, hold: Hold) -> None:
        """Set credits aside, or raise `insufficient_credits`; repeating the id changes nothing."""
        if (error := (await self.place(uow, [hold])).get(hold.hold_id)) is not None:
            raise error

    async def place(self, uow: UnitOfWork, holds: Sequence[Hold]) -> dict[UUID, AppError]:
        """Set credits aside in the order given; returns the refused, each with its reason.

        A hold that its wallet does not cover refuses itself only: later, smaller ones of the same
        user are still placed. Repeating an id changes nothing.
        """
        if not holds:
            return {}
        placed = await store.place_holds(uow, holds)
        left = [hold for hold in holds if hold.hold_id not in placed]
        if not left:
            return {}
        earlier = await store.find_holds(uow, [hold.hold_id for hold in left])
        left = [hold for hold in left if not _is_repeat(hold, earlier.get(hold.hold_id))]
        free = await store.available(uow, {hold.user_id for hold in left})
        fitting, refused = fit(left, free)
        if fitting:
            await store.place_holds(uow, fitting)
        return refused

    async def settle_many(self, uow: UnitOfWork, ends: Sequence[Settlement]) -> set[UUID]:
        """End holds; return those ended now (one already ended is left as it was)."""
        return await store.settle(uow, ends) if ends else set()

    async def settle(
        self, uow: UnitOfWork, hold_id: UUID, kind: SettlementKind, captured_micro: int = 0
    ) -> bool:
        """End a hold; False if it had ended already. Raises `hold_unknown` if there is none."""
        if await store.settle(uow, [Settlement(hold_id, kind, captured_micro)]):
            return True
        if not await store.find_holds(uow, [hold_id]):
            raise AppError(Code.HOLD_UNKNOWN, f"There is no hold {hold_id}.")
        return False

    async def capture(self, uow: UnitOfWork, hold_id: UUID, amount_micro: int) -> bool:
        """Spend `amount_micro` of a hold and give the rest back."""
        return await self.settle(uow, hold_id, "captured", amount_micro)

    async def release(self, uow: UnitOfWork, hold_id: UUID) -> bool:
        """Give a hold back whole."""
        return await self.settle(uow, hold_id, "released")

    async def release_expired(
        self, uow: UnitOfWork, limit: int = 500, *, living: Living | None = None
    ) -> int:
        """Release holds past their lifetime whose run died without an end; return how many.

        `living` says which of the jobs that holds may belong to have not ended; theirs are kept.
        """
        after: UUID | None = None
        while expired := await usage_store.expired(uow, after, limit):
            alive = set() if living is None else await living(uow, set(expired.values()))
            dead = [hold_id for hold_id, job_id in expired.items() if job_id not in alive]
            if dead:
                return len(await store.settle(uow, [Settlement(one, "released") for one in dead]))
            after = max(expired)
        return 0

    async def charged(self, uow: UnitOfWork, hold_id: UUID) -> int | None:
        """What a run cost in micro-credits; None while it has not ended."""
        return await store.captured_of(uow, hold_id)

    async def meter(self, uow: UnitOfWork, rows: Sequence[Usage]) -> None:
        """Record what was used; a key recorded before is left as it was."""
        if rows:
            await store.insert_usage(uow, rows)

    async def pay_once(self, uow: UnitOfWork, usage: Usage, amount_micro: int) -> bool:
        """Record what was used and charge it; False, and nothing, if it was recorded before.

        Raises `insufficient_credits`: the caller's transaction must not go on.
        """
        if not await store.record_once(uow, usage):
            return False
        if amount_micro:
            await self.hold(uow, Hold(usage.usage_id, usage.user_id, amount_micro))
            await self.capture(uow, usage.usage_id, amount_micro)
        return True

    async def audit(self, uow: UnitOfWork, *, most: int = 100) -> list[Discrepancy]:
        """Where the ledger does not agree with itself, at one moment; `most` places at most."""
        return await books.off_books(uow, most)
