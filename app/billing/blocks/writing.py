"""Writes one batch of leases, charges and usage in the caller's transaction, once."""

from collections.abc import Sequence
from uuid import UUID

from app.billing import store as ledger
from app.billing.blocks import store
from app.billing.blocks.types import Batch, Charge, Outcome, Roll
from app.billing.types import Hold, Settlement
from app.kernel.uow import UnitOfWork


async def write(uow: UnitOfWork, batch: Batch, lifetime_s: float) -> Outcome:
    """Capture what was charged, lease anew, record usage.

    A repeated batch that was committed before changes nothing.
    """
    fresh = [roll.lease for roll in batch.rolls if roll.lease is not None]
    if batch.is_repeat and await _is_written(uow, batch):
        return Outcome(await store.leases(uow, [lease.hold_id for lease in fresh]))
    # Usage first: what another process has recorded and taken meanwhile is not taken again.
    paid = await store.meter(uow, batch.usages) if batch.usages else set()
    rolls = [roll.without(paid) for roll in batch.rolls] if paid else batch.rolls
    uncollected = await _capture(uow, rolls, lifetime_s)
    leased = await store.lease(uow, fresh, lifetime_s) if fresh else {}
    return Outcome(leased, uncollected)


async def _is_written(uow: UnitOfWork, batch: Batch) -> bool:
    holds = [roll.lease.hold_id for roll in batch.rolls if roll.lease is not None]
    calls = [charge.call_id for roll in batch.rolls for charge in roll.charges]
    return await store.is_written(uow, holds, calls)


async def _capture(uow: UnitOfWork, rolls: Sequence[Roll], lifetime_s: float) -> list[Charge]:
    """End the old leases; returns the charges that nothing was left for."""
    old = {roll.old_id: roll for roll in rolls if roll.old_id is not None}
    if not old:
        return []
    ended = await ledger.settle(uow, [_end(hold_id, roll) for hold_id, roll in old.items()])
    gone = [roll for hold_id, roll in old.items() if hold_id not in ended and roll.charges]
    late = await _collect_late(uow, gone, lifetime_s) if gone else set()
    charged = [(hold_id, one) for hold_id in ended for one in old[hold_id].charges]
    charged += [
        (roll.late_id, one) for roll in gone if roll.late_id in late for one in roll.charges
    ]
    if charged:
        await store.charge(uow, charged)
    return [one for roll in gone if roll.late_id not in late for one in roll.charges]


async def _collect_late(uow: UnitOfWork, gone: Sequence[Roll], lifetime_s: float) -> set[UUID]:
    """Charges of leases that ran out and went back: taken from the wallets, where they suffice."""
    holds = [Hold(roll.late_id, roll.user_id, roll.captured_micro, lifetime_s) for roll in gone]
    placed = await ledger.place_holds(uow, holds)
    return await ledger.settle(
        uow, [_end(one.late_id, one) for one in gone if one.late_id in placed]
    )


def _end(hold_id: UUID, roll: Roll) -> Settlement:
    captured = roll.captured_micro
    return Settlement(hold_id, "captured" if captured else "released", captured)
