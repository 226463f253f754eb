"""Credits leased in blocks, so that a call is paid in memory and written with many others.

A lease is a hold with an end: whoever dies gives it back by dying. Calls promise parts of it and
are charged against it in memory. Every `flush_s` one transaction captures what was charged, for
all users at once, and leases the rest anew; nothing is ever charged that is not leased.

What a crash can lose is the platform's: charges of the last `flush_s`, of `most_unwritten` calls
at most. A user never pays for a call twice, and never more than there is.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from app.billing.blocks.block import Block
from app.billing.blocks.types import Batch, Charge, Leased, Roll, Terms
from app.billing.blocks.writing import write
from app.billing.service import insufficient
from app.billing.types import Usage
from app.kernel.clock import Clock
from app.kernel.errors import AppError
from app.kernel.gather import Gather
from app.kernel.ids import new_id
from app.kernel.principal import SERVICE
from app.kernel.uow import Transactions

_AT_ONCE = 500
_PAUSE_S = 0.5
_TRIES = 3
_NOTHING: Mapping[UUID, int] = {}
_log = logging.getLogger(__name__)


class Promise:
    """Credits set aside in memory for one call; ends once, by `Blocks.settle`."""

    __slots__ = ("amount_micro", "block", "call_id", "is_open", "user_id")

    def __init__(
        self, user_id: UUID, amount_micro: int, block: Block | None, call_id: UUID | None = None
    ) -> None:
        self.call_id = call_id or new_id()
        self.user_id = user_id
        self.amount_micro = amount_micro
        self.block = block
        self.is_open = True


class _Asked(NamedTuple):
    user_id: UUID
    amount_micro: int


class Blocks:
    """The leased credits of one process.

    Opens transactions of its own, between calls and for many of them. `close` writes what is
    left and gives every lease back.
    """

    def __init__(
        self, transactions: Transactions, clock: Clock, terms: Terms | None = None
    ) -> None:
        self._transactions = transactions
        self._clock = clock
        self._terms = terms or Terms()
        self._blocks: dict[UUID, Block] = {}
        self._usages: list[Usage] = []
        self._waiting: Counter[UUID] = Counter()
        self._batch: tuple[Batch, list[Block]] | None = None
        self._turn = asyncio.Lock()
        self._hurry = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._asks: Gather[_Asked, int] = Gather(self._lease, most=_AT_ONCE, name="lease-credits")
        self._flushes: Gather[UUID | None, None] = Gather(
            self._flush, most=_AT_ONCE, name="write-charges"
        )

    @property
    def unwritten(self) -> int:
        """Metered calls that are not durable yet."""
        return len(self._usages) + (0 if self._batch is None else len(self._batch[0].usages))

    async def promise(
        self, user_id: UUID, amount_micro: int, call_id: UUID | None = None
    ) -> Promise:
        """Set aside what a call may cost; a free one (0) needs no credits.

        `call_id` is a new id of the caller's, if it has made one.
        Raises `insufficient_credits`, and `hub_unavailable` while nothing can be written.
        """
        if self.unwritten >= self._terms.most_unwritten:
            await self.flush()
        if amount_micro == 0:
            return Promise(user_id, 0, None, call_id)
        block = self._blocks.get(user_id)
        if block is None or not block.take(amount_micro, self._clock.monotonic(), self._terms):
            block = await self._taken(user_id, amount_micro)
        self._keep()
        return Promise(user_id, amount_micro, block, call_id)

    def settle(self, promise: Promise, usage: Usage | None, *, is_charged: bool) -> int:
        """End a promise, and note what the call used; returns what it was charged.

        Costs no wait and cannot fail; ending a promise again changes nothing. It is durable within
        about `flush_s`. A lease that ran out meanwhile, with nothing left, charges nothing.
        """
        if not promise.is_open:
            return 0
        promise.is_open = False
        charged = self._end(promise, is_charged=is_charged)
        if usage is not None:
            self._usages.append(usage)
            if len(self._usages) >= self._terms.most_unwritten:
                self._hurry.set()
        self._keep()
        return charged

    async def flush(self, user_id: UUID | None = None) -> None:
        """Return when what was settled before, for one user or all, is durable.

        Raises `hub_unavailable`.
        """
        await self._flushes.ask(user_id)

    async def close(self) -> None:
        """Write what is left and give the leases back; those of calls under way run out."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        try:
            async with self._turn:
                await self._write(_NOTHING, is_closing=True)
        except AppError as error:
            _log.error("credits not given back", extra={"reason": error.message})

    def _end(self, promise: Promise, *, is_charged: bool) -> int:
        block = promise.block
        if block is None:
            return 0
        if not is_charged:
            block.give_back(promise.amount_micro)
            return 0
        charge = Charge(promise.call_id, promise.user_id, promise.amount_micro)
        return promise.amount_micro if block.spend(charge) else 0

    async def _taken(self, user_id: UUID, amount_micro: int) -> Block:
        """A block with the amount taken; leased, or made larger, where it must be."""
        # What was leased for somebody is not given back before they have taken it.
        self._waiting[user_id] += 1
        try:
            return await self._asked(user_id, amount_micro)
        finally:
            self._waiting[user_id] -= 1
            if not self._waiting[user_id]:
                del self._waiting[user_id]

    async def _asked(self, user_id: UUID, amount_micro: int) -> Block:
        left = 0
        for _ in range(_TRIES):
            left = await self._asks.ask(_Asked(user_id, amount_micro))
            block = self._blocks.get(user_id)
            if block is None:
                break
            if block.take(amount_micro, self._clock.monotonic(), self._terms):
                return block
            # Who else came in between took of it; unless the wallet is empty too, ask again.
            left += max(0, block.free)
            if left < amount_micro:
                break
        raise insufficient(amount_micro, left)

    async def _lease(self, asked: list[_Asked]) -> Sequence[int]:
        """Lease what is asked for; the answer is what each wallet has left."""
        wanted: Counter[UUID] = Counter()
        for one in asked:
            wanted[one.user_id] += one.amount_micro
        async with self._turn:
            leased = await self._write(wanted)
        return [leased[one.user_id].left_micro if one.user_id in leased else 0 for one in asked]

    async def _flush(self, users: list[UUID | None]) -> Sequence[None]:
        only = None if None in users else {one for one in users if one is not None}
        async with self._turn:
            await self._write(_NOTHING, only=only)
        return [None] * len(users)

    async def _write(
        self,
        wanted: Mapping[UUID, int],
        *,
        only: Collection[UUID] | None = None,
        is_closing: bool = False,
    ) -> Mapping[UUID, Leased]:
        """Write what waits, and lease what is wanted, in one transaction; called in turn."""
        if self._batch is not None:
            await self._commit()
        for user_id in wanted:
            if user_id not in self._blocks:
                self._blocks[user_id] = Block(user_id, self._clock.monotonic())
        rolled, usages = self._rolled(wanted, only, is_closing=is_closing), self._used(only)
        if not rolled and not usages:
            return {}
        batch = Batch([roll for roll, _ in rolled], usages, self._clock.monotonic())
        self._batch = batch, [block for _, block in rolled]
        return await self._commit()

    def _rolled(
        self, wanted: Mapping[UUID, int], only: Collection[UUID] | None, *, is_closing: bool
    ) -> list[tuple[Roll, Block]]:
        now, rolled = self._clock.monotonic(), []
        for user_id in list(self._blocks if only is None else self._blocks.keys() & set(only)):
            block, more = self._blocks[user_id], wanted.get(user_id, 0)
            is_unused = block.is_quiet or (is_closing and not block.reserved)
            is_last = is_unused and not self._waiting[user_id]
            if is_last:
                # What comes from now on gets a block of its own.
                del self._blocks[user_id]
            if more or is_last or block.is_due(now, self._terms):
                rolled.append((block.roll(more, is_last=is_last), block))
        return rolled

    def _used(self, only: Collection[UUID] | None) -> list[Usage]:
        """The usage to write: in the batch of its charge, never before."""
        usages, self._usages = self._usages, []
        if only is not None:
            self._usages = [one for one in usages if one.user_id not in only]
            usages = [one for one in usages if one.user_id in only]
        return usages

    async def _commit(self) -> Mapping[UUID, Leased]:
        """Write the batch. If that fails it stays, to be written first; it may be durable."""
        assert self._batch is not None
        batch, blocks = self._batch
        try:
            async with self._transactions.begin(SERVICE) as uow:
                outcome = await write(uow, batch, self._terms.lifetime_s)
        except BaseException:
            batch.is_repeat = True
            raise
        self._batch = None
        for roll, block in zip(batch.rolls, blocks, strict=True):
            block.rolled(roll, outcome.leased.get(roll.user_id), batch.began)
            if not block.amount and not block.reserved and self._blocks.get(roll.user_id) is block:
                del self._blocks[roll.user_id]
        for charge in outcome.uncollected:
            _log.error("a call was not paid", extra={"call_id": str(charge.call_id)})
        return outcome.leased

    def _keep(self) -> None:
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._run(), name="leased-credits")

    async def _run(self) -> None:
        """Write every so often while there is anything to write, renew or give back."""
        try:
            while self._blocks or self._usages or self._batch is not None:
                await self._wait()
                try:
                    await self.flush()
                except Exception as error:  # noqa: BLE001 - what is charged must not be lost
                    _log.warning("charges wait", extra={"reason": str(error)})
                    await asyncio.sleep(_PAUSE_S)
        finally:
            self._keeper = None

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(self._terms.flush_s):
                await self._hurry.wait()
        except TimeoutError:
            pass
        self._hurry.clear()
