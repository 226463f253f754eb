"""What usage costs: integers only, exact until the one rounding of a whole job. Pure.

A rate is `amount_micro` for every `per_units` of a measured quantity. Sums are kept in parts: a
micro-credit has as many as the least common multiple of a tariff's denominators, so that no
division happens before the end of a job. There it is rounded up, by less than one micro-credit.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from app.billing.types import Usage
from app.kernel.errors import AppError, Code

CALLS = "calls"
ANY = "*"
KINDS = ("tool", "sandbox", "llm")
_LARGEST = 10**18  # of amounts and denominators, so that they fit BIGINT


@dataclass(frozen=True, slots=True)
class UsageRate:
    """A price of usage: `amount_micro` for every `per_units` of the quantity `unit`.

    `kind` is the kind of usage, `subject` a tool's or model's name or `*`. `unit` is `calls` or a
    name in `Usage.quantities` (`cpu_ms`, `tokens_in`, `bytes_out`). A usual run has `low_units`
    to `high_units` of it; quotes are made of them.
    """

    kind: str
    subject: str
    unit: str
    per_units: int
    amount_micro: int
    low_units: int = 0
    high_units: int = 0


def check_rates(rates: Sequence[UsageRate]) -> None:
    """Raise `invalid_input` for rates that cannot be published."""
    places = {(rate.kind, rate.subject, rate.unit) for rate in rates}
    if not rates or len(places) < len(rates):
        raise _refuse("A plan needs rates, and one rate for a kind, subject and unit.")
    for rate in rates:
        numbers = (rate.per_units, rate.amount_micro, rate.low_units, rate.high_units)
        is_whole = all(type(number) is int and 0 <= number <= _LARGEST for number in numbers)
        if not is_whole or rate.per_units < 1 or rate.low_units > rate.high_units:
            raise _refuse(f"The rate of {rate.subject} per {rate.unit} is out of range.")
        if rate.kind not in KINDS:
            raise _refuse(f"{rate.kind!r} is no kind of usage.")
    if math.lcm(*(rate.per_units for rate in rates)) > _LARGEST:
        raise _refuse("The denominators of the rates have no small common multiple.")


class Tariff:
    """The rates of one plan. A rate of a subject goes before that of `*` for the same unit."""

    def __init__(self, rates: Iterable[UsageRate]) -> None:
        self.rates = tuple(rates)

    @cached_property
    def per_micro(self) -> int:
        """Parts in a micro-credit."""
        return math.lcm(*(rate.per_units for rate in self.rates))

    def parts(self, usage: Usage) -> int:
        """What a metered usage costs, in parts. Raises `invalid_input` for a fraction."""
        return sum(
            self._parts(rate, _units(usage, unit))
            for unit, rate in self._of(usage.kind, usage.subject).items()
        )

    def fixed_parts(self, kind: str, subject: str) -> int:
        """What one call costs at least, in parts: known before it is made."""
        rate = self._of(kind, subject).get(CALLS)
        return 0 if rate is None else self._parts(rate, 1)

    def is_open(self, kind: str, subject: str) -> bool:
        """Whether a part of a call's price is known only after it."""
        found = self._of(kind, subject).items()
        return any(unit != CALLS and rate.amount_micro > 0 for unit, rate in found)

    def micro(self, parts: int) -> int:
        """Micro-credits of parts, rounded up: the one rounding of a job."""
        return -(-parts // self.per_micro)

    def estimate(self) -> tuple[int, int]:
        """What a usual run costs at least and at most, in micro-credits."""
        low = sum(self._parts(rate, rate.low_units) for rate in self.rates)
        high = sum(self._parts(rate, rate.high_units) for rate in self.rates)
        return self.micro(low), self.micro(high)

    def _parts(self, rate: UsageRate, units: int) -> int:
        return units * rate.amount_micro * (self.per_micro // rate.per_units)

    def _of(self, kind: str, subject: str) -> Mapping[str, UsageRate]:
        found: dict[str, UsageRate] = {}
        for wanted in (ANY, subject):
            found |= {
                rate.unit: rate
                for rate in self.rates
                if rate.kind == kind and rate.subject == wanted
            }
        return found


def charge_of(usages: Iterable[Usage], rates: Iterable[UsageRate]) -> int:
    """What a job's usages cost together, in micro-credits, rounded up once."""
    tariff = Tariff(rates)
    return tariff.micro(sum(tariff.parts(usage) for usage in usages))


def _units(usage: Usage, unit: str) -> int:
    units = usage.quantities.get(unit, 1 if unit == CALLS else 0)
    if type(units) is not int or units < 0:
        raise _refuse(f"The usage of {usage.subject} has {units!r} {unit}, no whole number.")
    return units


def _refuse(message: str) -> AppError:
    return AppError(Code.INVALID_INPUT, message, hint="Rates and usage are whole numbers >= 0.")
