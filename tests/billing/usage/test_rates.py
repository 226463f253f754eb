"""What usage costs: exact sums, one rounding, the most specific rate."""

import random
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.billing import Tariff, Usage, UsageRate, charge_of, usage_quote
from app.billing.usage.rates import check_rates
from app.kernel.errors import AppError, Code
from app.kernel.ids import new_id

UNITS = ("calls", "cpu_ms", "tokens_in", "bytes_out")
SUBJECTS = ("a.one", "b.two", "*")

_rate = st.builds(
    UsageRate,
    st.sampled_from(("tool", "llm")),
    st.sampled_from(SUBJECTS),
    st.sampled_from(UNITS),
    st.sampled_from((1, 3, 7, 1000, 3600, 1_000_000)),
    st.integers(0, 10**12),
)
_rates = st.lists(_rate, max_size=8, unique_by=lambda r: (r.kind, r.subject, r.unit))
_quantities = st.dictionaries(st.sampled_from(UNITS), st.integers(0, 10**15))


def usage(kind: Any, subject: str, **quantities: int) -> Usage:
    return Usage(new_id(), new_id(), new_id(), str(new_id()), kind, subject, quantities)


_usage = st.builds(
    lambda kind, subject, quantities: usage(kind, subject, **quantities),
    st.sampled_from(("tool", "llm")),
    st.sampled_from(SUBJECTS[:2]),
    _quantities,
)


def exact(used: Usage, rates: list[UsageRate]) -> Fraction:
    """The price by plain reading, in fractions of micro-credits."""
    total = Fraction(0)
    for unit in UNITS:
        mine = [r for r in rates if r.kind == used.kind and r.unit == unit]
        named = [r for r in mine if r.subject == used.subject]
        for rate in named or [r for r in mine if r.subject == "*"]:
            units = used.quantities.get(unit, 1 if unit == "calls" else 0)
            total += Fraction(units * rate.amount_micro, rate.per_units)
    return total


@given(st.lists(_usage, max_size=12), _rates)
def test_a_job_is_rounded_up_once_by_less_than_a_micro_credit(
    usages: list[Usage], rates: list[UsageRate]
) -> None:
    charge = charge_of(usages, rates)
    error = charge - sum((exact(one, rates) for one in usages), Fraction(0))
    assert type(charge) is int
    assert 0 <= error < 1


@given(st.lists(_usage, min_size=1, max_size=12), _rates, st.randoms())
def test_the_running_sum_is_the_sum_in_any_order(
    usages: list[Usage], rates: list[UsageRate], order: random.Random
) -> None:
    tariff = Tariff(rates)
    shuffled = order.sample(usages, len(usages))
    parts, charges = 0, []
    for one in shuffled:
        parts += tariff.parts(one)
        charges.append(tariff.micro(parts))
    assert charges[-1] == charge_of(usages, rates)
    assert charges == sorted(charges)


def test_the_units_of_the_platform_have_prices() -> None:
    rates = [
        UsageRate("tool", "*", "calls", 1, 10_000),
        UsageRate("tool", "blast.search", "calls", 1, 50_000),
        UsageRate("tool", "*", "bytes_out", 1_000_000, 200),
        UsageRate("sandbox", "*", "cpu_ms", 1000, 300),
        UsageRate("llm", "*", "tokens_in", 1000, 150),
        UsageRate("llm", "*", "tokens_out", 1000, 600),
    ]
    assert charge_of([usage("tool", "sequence.translate")], rates) == 10_000
    assert charge_of([usage("tool", "blast.search", bytes_out=1)], rates) == 50_001
    assert charge_of([usage("sandbox", "sandbox.run_python", cpu_ms=2500)], rates) == 750
    assert charge_of([usage("llm", "any", tokens_in=1234, tokens_out=10)], rates) == 192
    # Each alone would be one micro-credit; together they are less than one.
    assert charge_of([usage("tool", "free", calls=0, bytes_out=1) for _ in range(100)], rates) == 1


@pytest.mark.parametrize("units", [1.5, -1, True, "7"])
def test_usage_is_counted_in_whole_numbers(units: Any) -> None:
    with pytest.raises(AppError) as caught:
        charge_of([usage("tool", "a", cpu_ms=units)], [UsageRate("tool", "*", "cpu_ms", 1, 1)])
    assert caught.value.code is Code.INVALID_INPUT


@pytest.mark.parametrize(
    "rates",
    [
        [],
        [UsageRate("tool", "*", "calls", 0, 1)],
        [UsageRate("tool", "*", "calls", 1, -1)],
        [UsageRate("tool", "*", "calls", 1, 1.5)],  # type: ignore[arg-type]
        [UsageRate("tool", "*", "calls", 1, 1, 3, 2)],
        [UsageRate("lunch", "*", "calls", 1, 1)],
        [UsageRate("tool", "*", "calls", 1, 1), UsageRate("tool", "*", "calls", 1, 2)],
        [UsageRate("tool", "*", "calls", 10**9 + 7, 1), UsageRate("llm", "*", "x", 10**9 + 9, 1)],
    ],
)
def test_rates_that_cannot_be_are_refused(rates: list[UsageRate]) -> None:
    if len(rates) == 2 and rates[1].unit == "x":
        rates = [*rates, UsageRate("llm", "*", "y", 10**9 + 21, 1)]
    with pytest.raises(AppError) as caught:
        check_rates(rates)
    assert caught.value.code is Code.INVALID_INPUT


RATES = [
    UsageRate("tool", "*", "calls", 1, 100, 2, 10),
    UsageRate("tool", "*", "wall_ms", 3, 1, 0, 1),
]


def test_a_quote_holds_the_high_estimate_or_the_cap() -> None:
    free = usage_quote("template", "t", 1, RATES)
    assert (free.low_micro, free.high_micro, free.amount_micro, free.cap_micro) == (
        200,
        1001,
        1001,
        2002,
    )
    capped = usage_quote("template", "t", 1, RATES, 500)
    assert (capped.amount_micro, capped.cap_micro) == (500, 500)
    roomy = usage_quote("template", "t", 1, RATES, 5000)
    assert (roomy.amount_micro, roomy.cap_micro) == (1001, 5000)


def test_a_cap_below_the_low_estimate_is_refused_with_what_it_takes() -> None:
    with pytest.raises(AppError) as caught:
        usage_quote("template", "t", 1, RATES, 199)
    assert caught.value.code is Code.INVALID_INPUT
    assert caught.value.details["low_micro"] == 200
