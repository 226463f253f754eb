"""Wallets, holds, settlements and usage."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from uuid import UUID

from app.billing import Hold, Settlement, Usage
from tests.simulation.memory import MemoryUnit, Purse, Settled


async def place_holds(uow: MemoryUnit, holds: Sequence[Hold]) -> set[UUID]:
    await uow.write()
    placed, running = set(), dict[UUID, int]()
    for hold in holds:
        purse = uow.memory.wallets.get(hold.user_id)
        if hold.hold_id in uow.memory.holds or purse is None:
            continue
        # What comes before counts whether it fits or not, as a running sum does.
        running[hold.user_id] = running.get(hold.user_id, 0) + hold.amount_micro
        if running[hold.user_id] <= purse.available:
            placed.add(hold.hold_id)
    for hold in holds:
        if hold.hold_id in placed:
            uow.put("holds", hold.hold_id, hold)
            move(uow, hold.user_id, available=-hold.amount_micro, held=hold.amount_micro)
    return placed


def move(uow: MemoryUnit, user_id: UUID, **by: int) -> None:
    purse: Purse = uow.memory.wallets[user_id]
    moved = {name: getattr(purse, name) + amount for name, amount in by.items()}
    uow.put("wallets", user_id, replace(purse, **moved))


async def available(uow: MemoryUnit, users: Collection[UUID]) -> dict[UUID, int]:
    await uow.write()
    known = uow.memory.wallets
    return {user: known[user].available for user in sorted(users) if user in known}


async def find_holds(uow: MemoryUnit, ids: Sequence[UUID]) -> dict[UUID, Hold]:
    await uow.read()
    known = uow.memory.holds
    return {hold_id: known[hold_id] for hold_id in ids if hold_id in known}


async def settle(uow: MemoryUnit, ends: Sequence[Settlement]) -> set[UUID]:
    await uow.write()
    ended = set()
    for end in ends:
        hold = uow.memory.holds.get(end.hold_id)
        if hold is None or end.hold_id in uow.memory.settled:
            continue
        if end.captured_micro > hold.amount_micro:
            continue
        released = hold.amount_micro - end.captured_micro
        uow.put("settled", end.hold_id, Settled(end.kind, end.captured_micro, released))
        move(
            uow,
            hold.user_id,
            available=released,
            held=-hold.amount_micro,
            captured=end.captured_micro,
        )
        ended.add(end.hold_id)
    return ended


async def insert_usage(uow: MemoryUnit, rows: Sequence[Usage]) -> None:
    await uow.write()
    for row in rows:
        if (row.job_id, row.key) not in uow.memory.usage:
            uow.put("usage", (row.job_id, row.key), row)
