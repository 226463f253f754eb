"""The generic cell rate algorithm: starts conform, bursts are allowed, idleness is not saved up."""

from hypothesis import given
from hypothesis import strategies as st

from app.orchestration.limits.rates import HORIZON_S, Rate

RATES = st.builds(Rate, st.integers(1, 6000), st.integers(1, 50))
GAPS = st.lists(st.floats(0, 30), min_size=1, max_size=60)


def assert_conform(rate: Rate, starts: list[float]) -> None:
    """Any n starts take at least (n - burst) periods."""
    starts = sorted(starts)
    for first in range(len(starts)):
        for last in range(first, len(starts)):
            least = (last - first + 1 - rate.burst) * rate.period_s
            assert starts[last] - starts[first] >= least - 1e-5


@given(RATES, GAPS)
def test_starts_conform_however_they_come(rate: Rate, gaps: list[float]) -> None:
    now, tat, starts = 1e9, None, []
    for gap in gaps:
        now += gap
        at = rate.conforming(tat, now)
        assert at >= now
        tat = rate.spent(tat, at)
        starts.append(at)
    assert_conform(rate, starts)


@given(RATES, st.floats(0, 1e6))
def test_a_burst_comes_at_once_and_no_more(rate: Rate, idle: float) -> None:
    now = 1e9 + idle
    tat = rate.spent(None, 1e9 - 3600)
    for _ in range(rate.burst - 1):
        assert rate.conforming(tat, now) == now
        tat = rate.spent(tat, now)
    tat = rate.spent(tat, now)
    assert rate.conforming(tat, now) > now


@given(RATES, st.floats(-100, 100))
def test_the_room_is_what_can_be_booked_ahead(rate: Rate, ahead: float) -> None:
    now = 1e9
    tat: float | None = now + ahead
    room, booked = rate.room(tat, now), 0
    while rate.conforming(tat, now) <= now + HORIZON_S and booked < 2000:
        tat = rate.spent(tat, rate.conforming(tat, now))
        booked += 1
    assert booked == 2000 or abs(room - booked) <= 1
    assert now <= rate.looked_at(tat, now)
