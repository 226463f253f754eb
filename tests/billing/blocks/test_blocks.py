"""Leased credits on a real ledger; its books are checked after every test."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest

from app.billing import Billing, Blocks, Hold, Terms
from app.kernel.clock import SystemClock
from app.kernel.db import Database
from app.kernel.errors import AppError, Code
from app.kernel.principal import SERVICE, Principal
from app.kernel.uow import UnitOfWork
from tests.billing.blocks.ledger import (
    PRICE,
    STILL,
    answered,
    expire,
    failed,
    leasing,
    usage,
    user_with,
    wallet,
    written,
)

pytestmark = pytest.mark.anyio


async def test_calls_are_charged_together_and_once(database: Database) -> None:
    user = await user_with(database, 1000)
    async with leasing(database) as blocks:
        promises = [await blocks.promise(user, PRICE) for _ in range(5)]
        assert [answered(blocks, one) for one in promises] == [PRICE] * 5
        assert answered(blocks, promises[0]) == 0
        assert (await wallet(database, user)).captured_micro == 0
        await blocks.flush()
        assert (await wallet(database, user)).captured_micro == 5 * PRICE
        assert blocks.unwritten == 0
    found = await written(database)
    assert found.charged == {one.call_id: PRICE for one in promises}
    assert found.metered == {str(one.call_id) for one in promises}
    after = await wallet(database, user)
    assert (after.available_micro, after.held_micro) == (1000 - 5 * PRICE, 0)


@pytest.mark.parametrize("others", [0, 2])
async def test_what_another_process_was_paid_for_is_not_charged_again(
    database: Database, others: int
) -> None:
    user = await user_with(database, 1000)
    async with leasing(database) as blocks:
        twice = await blocks.promise(user, PRICE)
        for _ in range(others):
            answered(blocks, await blocks.promise(user, PRICE))
        async with database.begin(SERVICE) as uow:
            assert await Billing().pay_once(uow, usage(twice), PRICE)
        answered(blocks, twice)
    after = await wallet(database, user)
    paid = (1 + others) * PRICE
    assert (after.captured_micro, after.available_micro, after.held_micro) == (paid, 1000 - paid, 0)
    assert twice.call_id not in (await written(database)).charged


async def test_usage_is_written_with_its_charge_and_not_before(database: Database) -> None:
    one, other = await user_with(database, 1000), await user_with(database, 1000)
    async with leasing(database) as blocks:
        waiting = await blocks.promise(one, PRICE)
        answered(blocks, waiting)
        await blocks.flush(other)
        assert (await written(database)).metered == set()
        assert blocks.unwritten == 1
        await blocks.flush(one)
        found = await written(database)
        assert (found.charged, found.metered) == (
            {waiting.call_id: PRICE},
            {str(waiting.call_id)},
        )


async def test_what_is_not_charged_goes_back(database: Database) -> None:
    user = await user_with(database, 1000)
    async with leasing(database) as blocks:
        assert failed(blocks, await blocks.promise(user, PRICE)) == 0
        refused = await blocks.promise(user, PRICE)
        assert blocks.settle(refused, usage(refused), is_charged=False) == 0
    assert (await wallet(database, user)).available_micro == 1000
    found = await written(database)
    assert (found.charged, found.metered) == ({}, {str(refused.call_id)})


async def test_a_lease_leaves_most_of_a_wallet_to_others(database: Database) -> None:
    user = await user_with(database, 1000)
    async with leasing(database) as blocks:
        await blocks.promise(user, PRICE)
        async with database.begin(SERVICE) as uow:
            await Billing().hold(uow, Hold(uuid4(), user, 700, 60.0))


async def test_credits_are_promised_to_the_last(database: Database) -> None:
    user = await user_with(database, 3 * PRICE + 5)
    async with leasing(database) as blocks:
        asked = [blocks.promise(user, PRICE) for _ in range(5)]
        given = await asyncio.gather(*asked, return_exceptions=True)
        errors = [one for one in given if isinstance(one, AppError)]
        assert [error.code for error in errors] == [Code.INSUFFICIENT_CREDITS] * 2
        assert errors[0].details == {"needed_micro": PRICE, "available_micro": 5}
        for one in given:
            if not isinstance(one, BaseException):
                assert answered(blocks, one) == PRICE
    assert (await wallet(database, user)).captured_micro == 3 * PRICE


async def test_nobody_without_credits_is_promised_any(database: Database) -> None:
    poor = await user_with(database, 0)
    async with leasing(database) as blocks:
        for user in (poor, uuid4()):
            with pytest.raises(AppError) as caught:
                await blocks.promise(user, PRICE)
            assert caught.value.code is Code.INSUFFICIENT_CREDITS
            assert caught.value.details["available_micro"] == 0


async def test_a_free_call_is_metered_and_needs_no_wallet(database: Database) -> None:
    async with leasing(database) as blocks:
        free = await blocks.promise(uuid4(), 0)
        assert answered(blocks, free) == 0
        await blocks.flush()
        assert (await written(database)).metered == {str(free.call_id)}


async def test_many_users_are_written_in_one_transaction(database: Database) -> None:
    users = [await user_with(database, 1000) for _ in range(20)]
    counted = Counted(database)
    async with leasing(counted) as blocks:
        for user in users:
            answered(blocks, await blocks.promise(user, PRICE))
        counted.begun = 0
        await blocks.flush()
        assert counted.begun == 1
    for user in users:
        assert (await wallet(database, user)).captured_micro == PRICE


async def test_charges_are_written_without_being_asked(database: Database) -> None:
    user = await user_with(database, 1000)
    async with leasing(database, Terms(flush_s=0.01)) as blocks:
        answered(blocks, await blocks.promise(user, PRICE))
        async with asyncio.timeout(30):
            # Also given back, once nothing is called any more.
            while (await wallet(database, user)).available_micro != 1000 - PRICE:
                await asyncio.sleep(0.01)


async def test_a_call_that_outlives_its_lease_is_still_paid(database: Database) -> None:
    user = await user_with(database, 1000)
    async with leasing(database) as blocks:
        promise = await blocks.promise(user, PRICE)
        assert await expire(database) == 1
        assert answered(blocks, promise) == PRICE
        await blocks.flush()
        assert (await wallet(database, user)).captured_micro == PRICE


async def test_a_lease_that_ran_out_charges_nothing_that_is_not_there(database: Database) -> None:
    user = await user_with(database, PRICE)
    async with leasing(database) as blocks:
        promise = await blocks.promise(user, PRICE)
        await expire(database)
        async with database.begin(SERVICE) as uow:
            await Billing().hold(uow, Hold(uuid4(), user, PRICE, 60.0))
        answered(blocks, promise)
        await blocks.flush()
        again = await wallet(database, user)
        assert (again.captured_micro, again.held_micro) == (0, PRICE)


async def test_leases_in_use_are_renewed(database: Database) -> None:
    user, clock = await user_with(database, 1000), Hands()
    blocks = Blocks(database, clock, STILL)
    promise = await blocks.promise(user, PRICE)
    clock.at += STILL.renewed_s
    await blocks.flush()
    async with database.begin(SERVICE) as uow:
        assert (await uow.execute("select count(*) from app.hold")).scalar_one() == 2
    answered(blocks, promise)
    await blocks.close()


@pytest.mark.parametrize("is_committed", [True, False])
async def test_nobody_knows_whether_it_was_committed(
    database: Database, is_committed: bool
) -> None:
    user = await user_with(database, 1000)
    torn = Torn(database, is_committed=is_committed)
    async with leasing(torn) as blocks:
        answered(blocks, await blocks.promise(user, PRICE))
        torn.times = 2
        for _ in range(2):
            with pytest.raises(AppError):
                await blocks.flush()
        answered(blocks, await blocks.promise(user, PRICE))
    assert (await wallet(database, user)).captured_micro == 2 * PRICE


async def test_without_a_database_calls_go_on_for_a_while_and_no_longer(
    database: Database,
) -> None:
    user = await user_with(database, 1000)
    torn = Torn(database, is_committed=False)
    async with leasing(torn, Terms(flush_s=3600.0, most_unwritten=3)) as blocks:
        promises = [await blocks.promise(user, PRICE) for _ in range(3)]
        torn.times = 1000
        for one in promises:
            assert answered(blocks, one) == PRICE
        with pytest.raises(AppError) as caught:
            await blocks.promise(user, PRICE)
        assert caught.value.code is Code.HUB_UNAVAILABLE
        torn.times = 0
    assert (await wallet(database, user)).captured_micro == 3 * PRICE


async def test_a_caller_who_goes_away_while_it_leases_holds_nothing(database: Database) -> None:
    user = await user_with(database, PRICE)
    async with leasing(database) as blocks:
        leaving = asyncio.create_task(blocks.promise(user, PRICE))
        await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        assert answered(blocks, await blocks.promise(user, PRICE)) == PRICE


class Hands(SystemClock):
    """A clock whose hands are moved."""

    at = 0.0

    def monotonic(self) -> float:
        return self.at


class Counted:
    """Counts transactions."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.begun = 0

    @asynccontextmanager
    async def begin(self, principal: Principal) -> AsyncIterator[UnitOfWork]:
        self.begun += 1
        async with self._database.begin(principal) as uow:
            yield uow


class Torn:
    """Loses the connection at the commit, `times` times: before or after it took effect."""

    def __init__(self, database: Database, *, is_committed: bool) -> None:
        self._database = database
        self._is_committed = is_committed
        self.times = 0

    @asynccontextmanager
    async def begin(self, principal: Principal) -> AsyncIterator[UnitOfWork]:
        away = AppError(Code.HUB_UNAVAILABLE, "The connection is gone.")
        is_torn, self.times = self.times > 0, max(0, self.times - 1)
        async with self._database.begin(principal) as uow:
            yield uow
            if is_torn and not self._is_committed:
                raise away
        if is_torn:
            raise away
