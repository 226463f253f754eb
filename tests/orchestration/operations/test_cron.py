"""Moments of cron expressions, over changes of clocks and long gaps."""

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.kernel.errors import AppError, Code
from app.orchestration.operations.cron import Cron


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def moments(cron: Cron, after: str, count: int) -> list[str]:
    found = islice(cron.after(utc(after)), count)
    return [f"{moment:%m-%d %H:%M}" for moment in found]


@pytest.mark.parametrize(
    ("expression", "after", "wanted"),
    [
        ("*/15 * * * *", "2026-01-01T00:07", ["01-01 00:15", "01-01 00:30"]),
        ("30 6 * * mon-fri", "2026-01-02T06:30", ["01-05 06:30", "01-06 06:30"]),
        ("0 0 29 2 *", "2026-01-01T00:00", ["02-29 00:00", "02-29 00:00"]),
        ("0 12 L * *", "2026-02-01T00:00", ["02-28 12:00", "03-31 12:00"]),
        # Day of month and weekday are alternatives, as in every cron.
        ("0 0 13 * 5", "2026-01-01T00:00", ["01-02 00:00", "01-09 00:00"]),
    ],
)
def test_the_next_moments(expression: str, after: str, wanted: list[str]) -> None:
    assert moments(Cron(expression), after, 2) == wanted


def test_a_skipped_local_time_fires_after_the_change() -> None:
    # 2026-03-29 in Berlin goes from 02:00 (+1) to 03:00 (+2), which is 01:00 UTC.
    cron = Cron("30 2 * * *", "Europe/Berlin")
    assert moments(cron, "2026-03-28T00:00", 3) == ["03-28 01:30", "03-29 01:00", "03-30 00:30"]


def test_a_repeated_local_time_fires_once() -> None:
    # 2026-10-25 in Berlin has 02:30 twice: 00:30 and 01:30 UTC.
    cron = Cron("30 2 * * *", "Europe/Berlin")
    assert moments(cron, "2026-10-24T12:00", 2) == ["10-25 00:30", "10-26 01:30"]


def test_intervals_follow_the_real_hours() -> None:
    cron = Cron("0 * * * *", "Europe/Berlin")
    wanted = ["10-24 23:00", "10-25 00:00", "10-25 01:00", "10-25 02:00"]
    assert moments(cron, "2026-10-24T22:00", 4) == wanted
    assert moments(cron, "2026-03-29T00:00", 2) == ["03-29 01:00", "03-29 02:00"]


@pytest.mark.parametrize(
    "expression",
    ["", "* * * *", "* * * * * *", "@daily", "61 * * * *", "0 0 31 2 *", "a b c d e", "* " * 300],
)
def test_what_is_no_expression_is_refused(expression: str) -> None:
    with pytest.raises(AppError) as caught:
        Cron(expression)
    assert (caught.value.code, caught.value.details) == (
        Code.INVALID_INPUT,
        {"pointer": "/cron"},
    )


@pytest.mark.parametrize("zone", ["", "Berlin", "../../etc/passwd", "/etc/passwd", "a" * 5000, "."])
def test_what_is_no_time_zone_is_refused(zone: str) -> None:
    with pytest.raises(AppError) as caught:
        Cron("* * * * *", zone)
    assert caught.value.details == {"pointer": "/time_zone"}


def test_only_the_newest_of_years_are_looked_at() -> None:
    cron, last = Cron("* * * * *"), utc("2026-01-01T00:00")
    found = cron.newest(utc("1996-01-01T00:00"), last, 1000)
    assert found == [last - timedelta(minutes=back) for back in range(999, -1, -1)]
    assert cron.newest(last, last - timedelta(minutes=1), 5) == []


@settings(max_examples=60, deadline=None)
@given(
    expression=st.sampled_from(["*/20 1-3 * * *", "0 */2 * * *", "30 2 * * *", "15,45 2 * * 0"]),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "Australia/Lord_Howe", "America/New_York"]),
    start=st.integers(0, 364 * 24 * 60),
    length=st.integers(0, 40 * 24 * 60),
    most=st.integers(1, 20),
)
def test_the_newest_are_the_end_of_all(
    expression: str, zone: str, start: int, length: int, most: int
) -> None:
    cron = Cron(expression, zone)
    first = utc("2026-01-01T00:00") + timedelta(minutes=start)
    last = first + timedelta(minutes=length)
    everything = cron.between(first, last, 10**6)
    assert cron.newest(first, last, most) == everything[-most:]
    assert cron.between(first, last, most) == everything[:most]
    assert everything == sorted(set(everything))
