"""Retention: partitions are made ahead of time, and old ones dropped whole."""

from app.orchestration.retention.service import Applied, Retention
from app.orchestration.retention.store import Partition

__all__ = ["Applied", "Partition", "Retention"]
