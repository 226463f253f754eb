"""Which registered tools are slow: worth a task rather than an open stream."""

from collections.abc import Mapping
from typing import Any, Literal

from app.kernel.settings import Settings
from app.registry import Tool
from app.surfaces.mcp.longtasks.negotiation import IDENTIFIER

Support = Literal["forbidden", "optional", "required", "unsaid"]

_SUPPORTS: Mapping[str, Support] = {
    "forbidden": "forbidden",
    "optional": "optional",
    "required": "required",
}


def support_of(tool: Tool) -> Support:
    """What the tool's own server says of tasks.

    As `execution.taskSupport` (2025-11-25); since 2026-07-28 has no such field, also as
    `_meta["io.modelcontextprotocol/tasks"].taskSupport`.
    """
    more = tool.definition.more
    for place in (more.get("execution"), _of(more.get("_meta"), IDENTIFIER)):
        if (said := _SUPPORTS.get(str(_of(place, "taskSupport")))) is not None:
            return said
    return "unsaid"


def is_slow(tool: Tool, settings: Settings) -> bool:
    """Whether its calls may become tasks.

    The server's word counts; without one, a tool is slow if its operator gives it more time than
    tools have by default.
    """
    support = support_of(tool)
    if support == "unsaid":
        return tool.timeout_s > settings.tool_timeout
    return support != "forbidden"


def _of(place: object, key: str) -> Any:
    return place.get(key) if isinstance(place, Mapping) else None
