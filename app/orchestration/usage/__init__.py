"""Jobs in usage mode: their account while they run, and how their holds end."""

from app.orchestration.usage.account import (
    UsageAccount,
    closings,
    is_usage,
    open_accounts,
    usage_kind,
)
from app.orchestration.usage.audit import audit
from app.orchestration.usage.store import living as living_jobs

__all__ = [
    "UsageAccount",
    "audit",
    "closings",
    "is_usage",
    "living_jobs",
    "open_accounts",
    "usage_kind",
]
