"""Usage mode: a job pays for what it used, at the rates it was quoted, up to its cap."""

from app.billing.usage.rates import CALLS, Tariff, UsageRate, charge_of
from app.billing.usage.service import Accounts, usage_quote
from app.billing.usage.types import Account, UsageQuote

__all__ = [
    "CALLS",
    "Account",
    "Accounts",
    "Tariff",
    "UsageQuote",
    "UsageRate",
    "charge_of",
    "usage_quote",
]
