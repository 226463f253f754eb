"""Billing: prices, quotes and the ledger of credits. All amounts are integer micro-credits."""

from app.billing.service import Billing
from app.billing.types import (
    MICRO,
    Hold,
    Price,
    Quote,
    Settlement,
    Usage,
    Wallet,
    credits_text,
    to_micro,
)

__all__ = [
    "MICRO",
    "Billing",
    "Hold",
    "Price",
    "Quote",
    "Settlement",
    "Usage",
    "Wallet",
    "credits_text",
    "to_micro",
]
