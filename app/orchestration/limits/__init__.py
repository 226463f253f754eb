"""Limits on how many jobs of a user, tool or key run at once and start a minute."""

from app.orchestration.limits.admission import LIMITS_TOPIC, Admission
from app.orchestration.limits.keeper import LimitKeeper
from app.orchestration.limits.names import read as read_name
from app.orchestration.limits.names import shown as shown_name
from app.orchestration.limits.service import JobLimits
from app.orchestration.limits.types import Limit, LimitQueue, Numbers, Waiting

__all__ = [
    "LIMITS_TOPIC",
    "Admission",
    "JobLimits",
    "Limit",
    "LimitKeeper",
    "LimitQueue",
    "Numbers",
    "Waiting",
    "read_name",
    "shown_name",
]
