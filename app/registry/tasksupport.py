"""What a tool's server says of tasks: whether a call may, must or must not outlive its request."""

from collections.abc import Mapping
from typing import Any, Literal

from app.registry.types import ToolDefinition

TaskSupport = Literal["forbidden", "optional", "required", "unsaid"]
_TASKS = "io.modelcontextprotocol/tasks"
_SUPPORTS: Mapping[str, TaskSupport] = {
    "forbidden": "forbidden",
    "optional": "optional",
    "required": "required",
}


def task_support(definition: ToolDefinition) -> TaskSupport:
    """The server's word, or `unsaid`.

    It is `execution.taskSupport` (2025-11-25); since 2026-07-28 has no such field, also
    `_meta["io.modelcontextprotocol/tasks"].taskSupport`.
    """
    more = definition.more
    for place in (more.get("execution"), _of(more.get("_meta"), _TASKS)):
        if (said := _SUPPORTS.get(str(_of(place, "taskSupport")))) is not None:
            return said
    return "unsaid"


def _of(place: object, key: str) -> Any:
    return place.get(key) if isinstance(place, Mapping) else None
