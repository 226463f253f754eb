"""Every way in which the books can be off is found, in a live ledger and after every test."""

from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest

from app.billing import Billing, Discrepancy, Hold, to_micro
from app.billing.books import store
from app.kernel.db import Database
from app.kernel.embedded import Hub
from app.kernel.ids import new_id
from app.kernel.principal import SERVICE
from app.kernel.uow import UnitOfWork
from app.orchestration import audit
from tests.books import off_books
from tests.factories import create

pytestmark = [pytest.mark.anyio, pytest.mark.no_books("each test spoils the books")]
Spoil = Callable[[UnitOfWork, UUID], Awaitable[object]]


async def _wallet(uow: UnitOfWork, user: UUID) -> None:
    query = "update app.wallet set available_micro = available_micro + 1 where user_id = :user"
    await uow.execute(query, {"user": user})


async def _moved(uow: UnitOfWork, user: UUID) -> None:
    query = """update app.wallet set available_micro = available_micro - 1,
        held_micro = held_micro + 1 where user_id = :user"""
    await uow.execute(query, {"user": user})


async def _granted(uow: UnitOfWork, user: UUID) -> None:
    await create(uow, "transfer", user, amount_micro=7)


async def _no_wallet(uow: UnitOfWork, user: UUID) -> None:
    await create(uow, "hold", new_id())


async def _unsplit(uow: UnitOfWork, user: UUID) -> None:
    held = await create(uow, "hold", user, amount_micro=10)
    await create(uow, "settlement", user, hold_id=held["hold_id"], captured_micro=9)


async def _stray(uow: UnitOfWork, user: UUID) -> None:
    await Billing().hold(uow, Hold(new_id(), user, 1))


async def _unheld(uow: UnitOfWork, user: UUID) -> None:
    await create(uow, "job_queue", user)


async def _account(uow: UnitOfWork, user: UUID) -> None:
    await create(uow, "usage_account", user)


SPOILS: dict[str, Spoil] = {
    "a wallet is not the sum of its rows": _wallet,
    "a wallet is not the sum of its rows (moved)": _moved,
    "a wallet is not the sum of its rows (granted)": _granted,
    "a hold has no wallet": _no_wallet,
    "a settlement is not the whole of its hold": _unsplit,
    "an open hold has no live job": _stray,
    "a live job has no open hold": _unheld,
    "an account in usage mode is not the sum of its holds": _account,
}


async def _audit(database: Database) -> list[Discrepancy]:
    async with database.begin(SERVICE) as uow:
        return await audit(Billing(), uow)


async def _granted_user(database: Database) -> UUID:
    user = new_id()
    async with database.begin(SERVICE) as uow:
        await Billing().grant(uow, user, to_micro(1), cause=f"test:{user}")
        await Billing().hold(uow, Hold(new_id(), user, 5, lifetime_s=60.0))
    return user


async def test_books_in_order_have_nothing_to_tell(
    database: Database, hub: Hub, clone: str
) -> None:
    await _granted_user(database)
    assert await _audit(database) == []
    assert off_books(hub.dsn(hub.superuser, clone)) == []


@pytest.mark.parametrize("what", SPOILS)
async def test_each_fault_is_found_by_the_audit_and_by_the_tests(
    database: Database, hub: Hub, clone: str, what: str
) -> None:
    user = await _granted_user(database)
    async with database.begin(SERVICE) as uow:
        await SPOILS[what](uow, user)
    found = await _audit(database)
    assert what.partition(" (")[0] in {one.what for one in found}
    assert off_books(hub.dsn(hub.superuser, clone))


async def test_the_audit_tells_no_more_than_asked(database: Database) -> None:
    async with database.begin(SERVICE) as uow:
        for _ in range(5):
            await create(uow, "hold", new_id())
        assert len(await audit(Billing(), uow, most=3)) == 3


async def test_the_sums_of_all_users_are_not_joined_row_by_row(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """20,000 wallets took nine seconds, and ten times as many a hundred times as long."""
    shown = "select current_setting('enable_hashjoin')"
    rest = "null as subject, null as user_id, null as figures limit :limit"
    monkeypatch.setattr(store, "_OFF", f"{shown} as what, {rest}")
    async with database.begin(SERVICE) as uow:
        assert [one.what for one in await Billing().audit(uow)] == ["on"]
        assert (await uow.execute(shown)).scalar_one() == "off"
