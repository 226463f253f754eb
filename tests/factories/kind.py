"""What a factory is."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from app.kernel.rls import Base

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
Row = type[Base]
Values = dict[str, Any]
Factory = Callable[[UUID], Values]
