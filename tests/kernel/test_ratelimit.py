"""Rate limits against a clock that the test moves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.kernel.errors import AppError, Code
from app.kernel.ratelimit import Limiter
from tests.manual_clock import ManualClock

pytestmark = pytest.mark.anyio


async def is_let_in(limiter: Limiter, key: str, per_minute: int, burst: int | None = None) -> bool:
    try:
        await limiter.take(key, per_minute, burst)
    except AppError as error:
        if error.code is Code.RATE_LIMITED:
            return False
        raise
    return True


async def test_a_burst_then_one_by_one() -> None:
    clock = ManualClock()
    limiter = Limiter(clock)
    assert [await is_let_in(limiter, "a", 60, 3) for _ in range(5)] == [True] * 3 + [False] * 2
    clock.advance(1)
    assert [await is_let_in(limiter, "a", 60, 3) for _ in range(2)] == [True, False]


async def test_who_waits_as_told_is_let_in() -> None:
    clock = ManualClock()
    limiter = Limiter(clock)
    await limiter.take("a", 7, 1)
    clock.advance(0.123)
    with pytest.raises(AppError) as caught:
        await limiter.take("a", 7, 1)
    wait = caught.value.details["retry_after_s"]
    assert 8.4 < wait < 8.5
    clock.advance(wait)
    await limiter.take("a", 7, 1)


async def test_keys_do_not_share_a_limit() -> None:
    limiter = Limiter(ManualClock())
    assert await is_let_in(limiter, "a", 1)
    assert await is_let_in(limiter, "b", 1)
    assert not await is_let_in(limiter, "a", 1)


async def test_the_keys_kept_are_bounded_and_the_idlest_leaves() -> None:
    limiter = Limiter(ManualClock(), max_keys=2)
    for key in ("a", "b", "a", "c"):
        await is_let_in(limiter, key, 2)
    assert len(limiter._arrivals) == 2
    assert not await is_let_in(limiter, "a", 2)
    assert [await is_let_in(limiter, "b", 2) for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(("per_minute", "burst"), [(0, None), (-1, None), (5, 0)])
async def test_a_limit_of_nothing_is_a_mistake(per_minute: int, burst: int | None) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        await Limiter(ManualClock()).take("a", per_minute, burst)


@given(
    burst=st.integers(1, 5),
    waits=st.lists(st.integers(0, 8), max_size=60),
)
async def test_it_decides_as_a_token_bucket_does(burst: int, waits: list[int]) -> None:
    # Quarters of a second at 120 a minute: half a token a step, exact in binary.
    clock = ManualClock()
    limiter = Limiter(clock)
    tokens = float(burst)
    for wait in waits:
        clock.advance(wait / 4)
        tokens = min(float(burst), tokens + wait / 2)
        is_due = tokens >= 1
        tokens -= is_due
        assert await is_let_in(limiter, "a", 120, burst) == is_due
