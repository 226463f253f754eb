"""Billing: prices, quotes and the ledger of credits. All amounts are integer micro-credits."""

from app.billing.blocks import Blocks, Promise, Terms
from app.billing.books import Discrepancy
from app.billing.service import Billing
from app.billing.types import (
    MICRO,
    Hold,
    Price,
    PriceKind,
    Quote,
    Settlement,
    Usage,
    Wallet,
    credits_text,
    to_micro,
)
from app.billing.usage import Account, Tariff, UsageQuote, UsageRate, charge_of, usage_quote

__all__ = [
    "MICRO",
    "Account",
    "Billing",
    "Blocks",
    "Discrepancy",
    "Hold",
    "Price",
    "PriceKind",
    "Promise",
    "Quote",
    "Settlement",
    "Tariff",
    "Terms",
    "Usage",
    "UsageQuote",
    "UsageRate",
    "Wallet",
    "charge_of",
    "credits_text",
    "to_micro",
    "usage_quote",
]
