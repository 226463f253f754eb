"""Which registered tools are slow: worth a task rather than an open stream."""

from typing import Literal

from app.kernel.settings import Settings
from app.registry import Tool

Support = Literal["forbidden", "optional", "required", "unsaid"]


def support_of(tool: Tool) -> Support:
    """What the tool's own server says of tasks (`execution.taskSupport`)."""
    said = (getattr(tool.definition, "more", None) or {}).get("execution") or {}
    support = said.get("taskSupport") if isinstance(said, dict) else None
    return support if support in {"forbidden", "optional", "required"} else "unsaid"


def is_slow(tool: Tool, settings: Settings) -> bool:
    """Whether its calls may become tasks.

    The server's word counts; without one, a tool is slow if its operator gives it more time than
    tools have by default.
    """
    support = support_of(tool)
    if support == "unsaid":
        return tool.timeout_s > settings.tool_timeout
    return support != "forbidden"
