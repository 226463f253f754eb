"""Holds, settlements and grants against real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.billing import Billing, Hold, credits_text, to_micro
from app.kernel.db import Database
from app.kernel.errors import AppError, Code
from app.kernel.ids import new_id
from app.kernel.principal import SERVICE
from app.orchestration import living_jobs
from tests.books import assert_balanced
from tests.factories import create

pytestmark = pytest.mark.anyio
OPEN_S = 60.0
"""The lifetime of a hold that a test leaves open: no job keeps it."""


@pytest.fixture
def billing() -> Billing:
    return Billing()


@pytest.fixture
async def user(database: Database, billing: Billing) -> AsyncIterator[UUID]:
    user_id = new_id()
    async with database.begin(SERVICE) as uow:
        await billing.grant(uow, user_id, to_micro(10), cause=f"test:{user_id}")
    yield user_id
    await assert_balanced(database)


async def _wallet(database: Database, billing: Billing, user: UUID) -> tuple[int, int, int]:
    async with database.begin(SERVICE) as uow:
        wallet = await billing.wallet(uow, user)
    return wallet.available_micro, wallet.held_micro, wallet.captured_micro


async def test_a_capture_spends_part_of_a_hold_and_returns_the_rest(
    database: Database, billing: Billing, user: UUID
) -> None:
    hold = Hold(new_id(), user, to_micro(4))
    async with database.begin(SERVICE) as uow:
        await billing.hold(uow, hold)
    assert await _wallet(database, billing, user) == (to_micro(6), to_micro(4), 0)
    async with database.begin(SERVICE) as uow:
        assert await billing.capture(uow, hold.hold_id, to_micro(3))
    assert await _wallet(database, billing, user) == (to_micro(7), 0, to_micro(3))


async def test_a_release_returns_the_whole_hold(
    database: Database, billing: Billing, user: UUID
) -> None:
    hold = Hold(new_id(), user, to_micro(4))
    async with database.begin(SERVICE) as uow:
        await billing.hold(uow, hold)
        await billing.release(uow, hold.hold_id)
    assert await _wallet(database, billing, user) == (to_micro(10), 0, 0)


async def test_a_hold_ends_once_whatever_comes_second(
    database: Database, billing: Billing, user: UUID
) -> None:
    hold = Hold(new_id(), user, to_micro(4))
    async with database.begin(SERVICE) as uow:
        await billing.hold(uow, hold)
        assert await billing.capture(uow, hold.hold_id, to_micro(4))
    async with database.begin(SERVICE) as uow:
        assert not await billing.release(uow, hold.hold_id)
        assert not await billing.capture(uow, hold.hold_id, to_micro(4))
        assert await billing.charged(uow, hold.hold_id) == to_micro(4)
    assert await _wallet(database, billing, user) == (to_micro(6), 0, to_micro(4))


async def test_the_same_hold_twice_is_one_hold(
    database: Database, billing: Billing, user: UUID
) -> None:
    hold = Hold(new_id(), user, to_micro(4), OPEN_S)
    for _ in range(2):
        async with database.begin(SERVICE) as uow:
            await billing.hold(uow, hold)
    assert await _wallet(database, billing, user) == (to_micro(6), to_micro(4), 0)


async def test_too_large_a_hold_says_what_is_missing_and_changes_nothing(
    database: Database, billing: Billing, user: UUID
) -> None:
    with pytest.raises(AppError) as caught:
        async with database.begin(SERVICE) as uow:
            await billing.hold(uow, Hold(new_id(), user, to_micro(11)))
    assert caught.value.code is Code.INSUFFICIENT_CREDITS
    assert caught.value.details == {
        "needed_micro": to_micro(11),
        "available_micro": to_micro(10),
    }
    assert await _wallet(database, billing, user) == (to_micro(10), 0, 0)


async def test_a_batch_refuses_only_what_its_own_wallet_does_not_cover(
    database: Database, billing: Billing, user: UUID
) -> None:
    poor = new_id()
    holds = [
        Hold(new_id(), user, to_micro(6), OPEN_S),
        Hold(new_id(), poor, to_micro(1), OPEN_S),
        Hold(new_id(), user, to_micro(6), OPEN_S),
    ]
    async with database.begin(SERVICE) as uow:
        await billing.open_wallet(uow, poor)
        refused = await billing.place(uow, holds)
    assert set(refused) == {holds[1].hold_id, holds[2].hold_id}


async def test_a_refused_large_hold_does_not_shadow_a_later_small_one(
    database: Database, billing: Billing, user: UUID
) -> None:
    holds = [Hold(new_id(), user, to_micro(amount), OPEN_S) for amount in (6, 6, 3, 1)]
    async with database.begin(SERVICE) as uow:
        refused = await billing.place(uow, holds)
    assert set(refused) == {holds[1].hold_id}
    assert await _wallet(database, billing, user) == (0, to_micro(10), 0)


async def test_parallel_holds_never_overdraw(
    database: Database, billing: Billing, user: UUID
) -> None:
    async def one() -> Code | None:
        try:
            async with database.begin(SERVICE) as uow:
                await billing.hold(uow, Hold(new_id(), user, to_micro(1), OPEN_S))
        except AppError as error:
            return error.code
        return None

    outcomes = await asyncio.gather(*(one() for _ in range(25)))
    assert sorted(outcomes, key=str) == [None] * 10 + [Code.INSUFFICIENT_CREDITS] * 15
    assert await _wallet(database, billing, user) == (0, to_micro(10), 0)


async def test_a_capture_above_its_hold_changes_nothing(
    database: Database, billing: Billing, user: UUID
) -> None:
    hold = Hold(new_id(), user, to_micro(1), OPEN_S)
    async with database.begin(SERVICE) as uow:
        await billing.hold(uow, hold)
        assert not await billing.capture(uow, hold.hold_id, to_micro(2))
    assert await _wallet(database, billing, user) == (to_micro(9), to_micro(1), 0)


async def test_settling_what_was_never_held_is_an_error(
    database: Database, billing: Billing
) -> None:
    with pytest.raises(AppError) as caught:
        async with database.begin(SERVICE) as uow:
            await billing.release(uow, new_id())
    assert caught.value.code is Code.HOLD_UNKNOWN


async def test_a_grant_is_booked_once_per_cause(
    database: Database, billing: Billing, user: UUID
) -> None:
    async with database.begin(SERVICE) as uow:
        assert await billing.grant(uow, user, 5, cause="same")
        assert not await billing.grant(uow, user, 5, cause="same")
    assert (await _wallet(database, billing, user))[0] == to_micro(10) + 5


async def test_a_new_price_is_a_new_version_and_the_same_price_is_none(
    database: Database, billing: Billing
) -> None:
    async with database.begin(SERVICE) as uow:
        for amount in (5, 5, 7):
            await billing.publish_price(uow, "tool", "a.b", amount)
        quote = await billing.quote(uow, "tool", "a.b")
    assert (quote.amount_micro, quote.price_version) == (7, 2)


async def test_the_ledger_cannot_be_rewritten_even_by_the_platform(
    database: Database, user: UUID
) -> None:
    for table in ("hold", "settlement", "transfer", "usage_event", "job_events"):
        for verb in (f"update app.{table} set user_id = user_id", f"delete from app.{table}"):
            with pytest.raises(Exception, match="permission denied"):
                async with database.begin(SERVICE) as uow:
                    await uow.execute(verb)


@given(st.integers(min_value=0, max_value=10**15))
def test_credits_as_text_read_back_as_the_same_amount(amount: int) -> None:
    assert to_micro(credits_text(amount)) == amount


@pytest.mark.parametrize("wrong", ["", "x", "-1", "1.0000001", "NaN", "Infinity", "1e400"])
def test_what_is_not_an_amount_is_refused(wrong: str) -> None:
    with pytest.raises(AppError):
        to_micro(wrong)


async def test_a_hold_past_its_lifetime_is_released_and_others_are_left(
    database: Database, billing: Billing, user: UUID
) -> None:
    hold_id = new_id()
    async with database.begin(SERVICE) as uow:
        await billing.hold(uow, Hold(new_id(), user, to_micro(1), lifetime_s=-1.0))
        await billing.hold(uow, Hold(new_id(), user, to_micro(2), lifetime_s=60.0))
        await billing.hold(uow, Hold(hold_id, user, to_micro(3)))
    async with database.begin(SERVICE) as uow:
        assert await billing.release_expired(uow) == 1
        assert await billing.release_expired(uow) == 0
    assert await _wallet(database, billing, user) == (to_micro(5), to_micro(5), 0)
    async with database.begin(SERVICE) as uow:
        await billing.release(uow, hold_id)


async def test_a_hold_past_its_lifetime_is_kept_while_its_job_lives(
    database: Database, billing: Billing, user: UUID
) -> None:
    kept, lost = sorted((new_id(), new_id()))
    async with database.begin(SERVICE) as uow:
        for hold_id in (kept, lost):
            await billing.hold(uow, Hold(hold_id, user, to_micro(1), lifetime_s=-1.0))
        await create(uow, "job_queue", user, job_id=kept)
    async with database.begin(SERVICE) as uow:
        # One at a time: the hold that is kept does not stand before the one that is not.
        assert await billing.release_expired(uow, 1, living=living_jobs) == 1
        assert await billing.release_expired(uow, 1, living=living_jobs) == 0
        assert await billing.charged(uow, kept) is None
        assert await billing.charged(uow, lost) == 0


async def test_a_capture_and_the_sweep_settle_a_hold_once(
    database: Database, billing: Billing, user: UUID
) -> None:
    """Whoever comes second changes nothing, whichever it is."""
    holds = [Hold(new_id(), user, 1000, lifetime_s=-1.0) for _ in range(60)]
    async with database.begin(SERVICE) as uow:
        assert await billing.place(uow, holds) == {}

    async def capture(hold: Hold) -> int:
        async with database.begin(SERVICE) as uow:
            return 1000 * await billing.capture(uow, hold.hold_id, 1000)

    async def sweep() -> int:
        async with database.begin(SERVICE) as uow:
            await billing.release_expired(uow, 7)
        return 0

    moves = [capture(hold) for hold in holds] + [sweep() for _ in range(6)]
    captured = sum(await asyncio.gather(*moves))
    async with database.begin(SERVICE) as uow:
        while await billing.release_expired(uow):
            pass
    assert await _wallet(database, billing, user) == (to_micro(10) - captured, 0, captured)
