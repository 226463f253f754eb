"""What a tool call of a job used, as the meter records it."""

import math
from typing import Any

from app.billing import Usage
from app.kernel.ids import new_id
from app.orchestration.types import JobView
from app.proxy import ToolResult, isolation_of


def usage_of(job: JobView, name: str, key: str, result: ToolResult) -> Usage:
    """The usage of one answered call; `key` names it within its job and is metered once."""
    quantities: dict[str, Any] = {
        "wall_ms": result.usage.wall_ms,
        "bytes_in": result.usage.bytes_in,
        "bytes_out": result.usage.bytes_out,
        **isolation_of(name, result.structured),
    }
    is_sandbox = name.startswith("sandbox.")
    spent = (result.structured or {}).get("usage") if is_sandbox else None
    if isinstance(spent, dict):
        quantities["cpu_ms"] = math.ceil(spent.get("cpu_s", 0) * 1000)
    return Usage(
        new_id(),
        job.user_id,
        job.job_id,
        key,
        "sandbox" if is_sandbox else "tool",
        name,
        quantities,
    )
